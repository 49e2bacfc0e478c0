"""VL-SAT: scene graphs from 3D alone, taught by an oracle that sees pictures and reads sentences."""
