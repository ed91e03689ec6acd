"""Synchronous training of one model in many processes: sums over all of them, in a ring that can be re-formed.

`schedule`, `buckets`, `overlap` and `places` are plain objects; `connect` and `ring` move bytes. `collective` is the
interface, so that another library (gloo, NCCL) can replace the ring. `meeting` is a step with several sums. No
TensorFlow here.
"""
