"""The field's official figures as pure functions: arrays and records in, float64 out, no file opened.

| file | figures | the script whose rule it is |
|---|---|---|
| `classification.py` | hit@k, mean class accuracy, challenge error, mAP, confusion | the papers' protocols |
| `charades.py` | mAP, weighted AP of videos, of 25 moments each | `Charades_v1_classify.m`, `_localize.m` |
| `ava.py` | frame mAP at IoU 0.5, by three rules | ActivityNet's, PySlowFast's and MMAction2's scripts |
| `activitynet.py` | temporal mAP, untrimmed mAP and hit@k, AR-AN of proposals | ActivityNet's `eval_*.py` |
| `tubes.py` | frame and video mAP, linking of tubelets | ACT-detector; the UCF101-24 script of Singh et al. |
| `resampling.py` | how sure a gain on the same videos is | none: the bootstrap in pairs |

Sorting is stable everywhere; what happens to equal scores is said at each function. The readers of the
official files and the commands are in `vadis/scoring`, the rules in words in `docs/scores.md`.
"""
