//! Joins of tables: on their keys, and on a foreign key.

mod foreign_key;
mod table_table;
