"""Whether a calibration is fit, which layers INT8 hurts, and what to keep in float."""
