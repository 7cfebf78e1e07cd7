//! The audit log: what is stored, and what is stored next.

use nightshift_core::event::Event;
use nightshift_proto::convert::from_timestamp;
use nightshift_proto::pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::operator::{Answer, Flow, Operator, view};
use crate::store::{EventFilter, PAGE_LIMIT, Recorded, Sequence};

/// Events on their way to one reader.
const FLOW_LIMIT: usize = 256;

impl Operator {
    pub(super) async fn events(&self, request: Request<pb::ListEventsRequest>) -> Answer<Flow<pb::Event>> {
        let asked = self.may_view(request).await?;
        let rollout = match asked.rollout.as_str() {
            "" => None,
            word => {
                // An id of long ago is not in memory any more: it is taken as it is.
                let word = word.to_owned();
                let found = self.driver.ask(move |view| {
                    view.control.find_rollout(&word).map_or(word.clone(), |rollout| rollout.id.to_string())
                });
                Some(found.await?)
            }
        };
        let app = Some(asked.app).filter(|app| !app.is_empty());
        let filter = EventFilter {
            after: Sequence(asked.after),
            app: app.clone(),
            rollout: rollout.clone(),
            newest: Some(asked.limit).filter(|limit| *limit > 0),
        };
        let (sender, receiver) = mpsc::channel(FLOW_LIMIT);
        tokio::spawn(self.clone().tell(filter, asked.follow, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn tell(self, mut filter: EventFilter, follow: bool, sender: mpsc::Sender<Result<pb::Event, Status>>) {
        let mut changes = self.driver.changes();
        loop {
            let page = match self.store.events(&filter).await {
                Ok(page) => page,
                Err(error) => {
                    drop(sender.send(Err(view::store_failed(error))).await);
                    return;
                }
            };
            let full = page.len() >= PAGE_LIMIT as usize;
            for recorded in page {
                filter.after = recorded.sequence;
                if sender.send(Ok(event(recorded))).await.is_err() {
                    return;
                }
            }
            filter.newest = None;
            if full {
                continue;
            }
            if !follow {
                return;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    }
}

fn event(recorded: Recorded) -> pb::Event {
    let known: Result<Event, _> = serde_json::from_value(recorded.body.clone());
    pb::Event {
        sequence: recorded.sequence.0,
        at: Some(from_timestamp(recorded.at)),
        kind: recorded.kind,
        app: recorded.app.unwrap_or_default(),
        node: recorded.node.unwrap_or_default(),
        rollout: recorded.rollout.unwrap_or_default(),
        by: recorded.by,
        message: known.map(|event| event.to_string()).unwrap_or_default(),
        detail_json: recorded.body.to_string(),
    }
}
