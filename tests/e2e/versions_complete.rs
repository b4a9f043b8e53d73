//! Every kind of target, promotion across a timeline, and standbys, on every version of PostgreSQL.
