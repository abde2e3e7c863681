//! A pod's namespaces, held by bind mounts instead of a process.
