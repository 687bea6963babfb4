//! Transactions: all or nothing over many partitions.

mod coordinator;
//mod decisions;
