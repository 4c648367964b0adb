//! From a name to the addresses that may be connected to.
//!
//! A name is resolved once for each connection, and the connection goes to one of the addresses that were looked
//! at: a name that means something else a moment later changes nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::target::Allowed;

/// Finds the addresses of a name.
#[async_trait]
pub trait Names: Send + Sync + 'static {
    /// Every address of this name.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The name service of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Lets through only what may be connected to.
pub(super) struct Guarded {
    pub(super) names: Arc<dyn Names>,
    pub(super) allowed: Arc<Allowed>,
}

/// No address of a name may be connected to.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("its name leads to an address that is not of the world outside; name it in `allow` if that is meant")]
pub(super) struct LeadsInside;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let names = Arc::clone(&self.names);
        let allowed = Arc::clone(&self.allowed);
        Box::pin(async move {
            let name = name.as_str().to_ascii_lowercase();
            let found = names.addresses(&name).await?;
            // One address that leads inside makes all of them suspect: whoever mixes them does it on purpose.
            if !allowed.has_name(&name) && found.iter().any(|address| allowed.permits(*address).is_err()) {
                return Err(LeadsInside.into());
            }
            let addresses: Vec<SocketAddr> = found.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}
