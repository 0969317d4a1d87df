"""Image backbones and text encoders behind one interface each."""
