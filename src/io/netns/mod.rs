//! The fence: namespaces, routes and rules around a command.
