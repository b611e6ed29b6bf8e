//! The client of Dolt remotes: clone, fetch, push, backup, verify. Nothing of it is built yet: the package
//! stands here so that the workspace has its final shape.
