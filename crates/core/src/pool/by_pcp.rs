//! The nodes as PCP tells them, which a pool also answers that takes no sessions.

use super::{Pool, PoolError, PoolNode, PoolNodes};
use crate::deadline::Deadline;
use crate::process::Output;
use crate::workers;

const NODE_INFO: &str = "pcp_node_info";
/// What that program tells of a node in every version, after its id.
const COLUMNS: [&str; 4] = ["node_id", "hostname", "port", "status"];

impl Pool {
    /// As many as there are hosts, or fewer where the pool has fewer. They are asked for side by side: new
    /// pools knock at the node first, and at a dead host they wait for their `connect_timeout`. Nodes that
    /// were not told by the deadline are left out. They have no role.
    ///
    /// # Errors
    /// It tells of none.
    pub fn nodes_by_pcp(&self, deadline: Deadline) -> Result<PoolNodes, PoolError> {
        let pool = self.clone();
        let ids = (0..).take(self.hosts);
        let told = workers::side_by_side(ids, deadline, move |id| {
            (id, pool.node_by_pcp(id, deadline))
        });
        let mut nodes = PoolNodes::default();
        nodes.table.columns = COLUMNS.map(str::to_owned).to_vec();
        let mut first = None;
        for (id, answer) in told.into_iter().flatten() {
            match answer {
                Ok((port, node)) => {
                    let row = [id.to_string(), node.host.clone(), port, node.status.clone()];
                    nodes.table.rows.push(row.map(Some).to_vec());
                    nodes.nodes.push(node);
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        match first {
            Some(error) if nodes.nodes.is_empty() => Err(error),
            _ => Ok(nodes),
        }
    }

    /// Whether PCP lets `PCP_USER` in, and knows a node.
    ///
    /// # Errors
    /// It does not, or gives no answer.
    pub fn try_pcp(&self, deadline: Deadline) -> Result<(), PoolError> {
        self.node_by_pcp(0, deadline).map(drop)
    }

    /// A node, and its port.
    fn node_by_pcp(&self, id: u32, deadline: Deadline) -> Result<(String, PoolNode), PoolError> {
        let output = self.pcp(NODE_INFO, id, deadline)?;
        let Some((host, port, status)) = node_info(&output) else {
            return Err(self.refusal(NODE_INFO, id, &output));
        };
        let node = PoolNode {
            id,
            host,
            status,
            role: String::new(),
            replication_delay: None,
        };
        Ok((port, node))
    }
}

/// Host, port and status of what `pcp_node_info` prints: `HOST PORT STATUS WEIGHT`, the status as a
/// number, and more in newer versions. `None`: it is no node.
fn node_info(output: &Output) -> Option<(String, String, String)> {
    let mut fields = output.stdout.split_ascii_whitespace().map(str::to_owned);
    let (host, port, status) = (fields.next()?, fields.next()?, fields.next()?);
    let status = match status.as_str() {
        "0" => "unused",
        "1" => "waiting",
        "2" => "up",
        "3" => "down",
        _ => return None,
    };
    (output.code == 0).then(|| (host, port, status.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_as_pcp_tells_it() {
        let told = |code: i32, stdout: &str| {
            node_info(&Output {
                code,
                stdout: stdout.to_owned(),
                stderr: String::new(),
            })
        };
        let node = |status: &str| {
            let words = ["192.168.1.101", "54321", status].map(str::to_owned);
            let [host, port, status] = words;
            Some((host, port, status))
        };
        // 3.6, and 4.3.
        assert_eq!(told(0, "192.168.1.101 54321 3 0.500000\n"), node("down"));
        let new =
            "192.168.1.101 54321 2 0.500000 up up standby primary 0 none none 2026-11-25 12:00";
        assert_eq!(told(0, new), node("up"));
        for (code, nothing) in [
            (1, "192.168.1.101 54321 3 0.5"),
            (0, ""),
            (0, "a b c d"),
            (0, "a 1"),
        ] {
            assert_eq!(told(code, nothing), None, "{nothing}");
        }
    }
}
