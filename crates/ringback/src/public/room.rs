//! Who may hold how much of what all share, by the directory as it is now.

use std::collections::BTreeSet;

use ringback_proto::switchboard::Room;

use super::Role;
use crate::config::{BudgetConfig, Directory};

impl Role {
    /// Gives each source and each tenant its share of the switchboard, with a tunnel for each client, and
    /// each tenant its share of the sessions over IPsec.
    pub(super) fn make_room(&mut self, directory: &Directory, budget: &BudgetConfig) {
        let tenants: BTreeSet<_> = directory.terminals().map(|it| it.terminal.tenant).collect();
        let among = Room::among(tenants.len(), budget.waiting_per_source);
        self.switchboard.make_room(Room { tunnels: self.tunnels_kept, ..among });
        if let Some(ipsec) = &self.house.ipsec {
            ipsec.divide_among(tenants.len());
        }
    }
}
