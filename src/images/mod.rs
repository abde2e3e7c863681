//! The local image store: what is in it, how archives get into it, and how a container's root filesystem is made of it.
