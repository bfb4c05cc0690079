//! The pool's own settings, as it says them itself: the one reader of them, whatever its files are called
//! and wherever they lie.

use super::{Pool, PoolError};
use crate::deadline::Deadline;
use crate::sql::Table;
use std::collections::BTreeMap;

impl Pool {
    /// Its settings by name, in every version that the tools know (`show pool_status`). It asks no database
    /// for them.
    ///
    /// # Errors
    /// It gives no answer.
    pub fn settings(&self, deadline: Deadline) -> Result<BTreeMap<String, String>, PoolError> {
        let table = self.unless_dropped(deadline, |session| {
            session.table("show pool_status", deadline)
        })?;
        Ok(by_name(&table))
    }

    /// The same, and what only `PGPOOL SHOW ALL` tells (from pgpool-II 3.6 on): whether its watchdog wants a
    /// majority, for instance. A pool that does not know that statement has said the rest.
    ///
    /// # Errors
    /// It gives no answer.
    pub fn all_settings(&self, deadline: Deadline) -> Result<BTreeMap<String, String>, PoolError> {
        self.unless_dropped(deadline, |session| {
            let mut all = by_name(&session.table("show pool_status", deadline)?);
            if let Ok(more) = session.table("PGPOOL SHOW ALL", deadline) {
                for (name, value) in by_name(&more) {
                    all.entry(name).or_insert(value);
                }
            }
            Ok(all)
        })
    }
}

/// `item`, `value` and `description`, in this order.
fn by_name(table: &Table) -> BTreeMap<String, String> {
    let cell = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
    let pair = |row: &Vec<Option<String>>| Some((cell(row, 0)?, cell(row, 1).unwrap_or_default()));
    table.rows.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_without_a_value_is_empty() {
        let row = |cells: [Option<&str>; 3]| cells.map(|cell| cell.map(str::to_owned)).to_vec();
        let table = Table {
            columns: ["item", "value", "description"].map(str::to_owned).to_vec(),
            rows: vec![
                row([Some("port"), Some("9999"), Some("pgpool accepting port")]),
                row([Some("failover_command"), None, Some("failover command")]),
                row([None, Some("1"), None]),
            ],
        };
        let found = by_name(&table);
        assert_eq!(found.len(), 2);
        assert_eq!(found["port"], "9999");
        assert_eq!(found["failover_command"], "");
    }
}
