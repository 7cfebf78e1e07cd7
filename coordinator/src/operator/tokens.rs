//! Tokens: make, list, revoke.

use chrono::TimeDelta;
use nightshift_core::ids::AppName;
use nightshift_proto::convert;
use nightshift_proto::pb;
use tonic::{Request, Response, Status};

use crate::operator::{Answer, Operator, parse, refusal, view};
use crate::trust::{Role, TokenError, TokenRequest};

impl Operator {
    pub(super) async fn new_token(&self, request: Request<pb::CreateTokenRequest>) -> Answer<pb::CreateTokenResponse> {
        let (by, asked) = self.may_administer(request).await?;
        let role: Role = parse(&asked.role)?;
        let lifetime = match asked.lifetime {
            Some(lifetime) => {
                let lifetime =
                    convert::duration("lifetime", Some(lifetime)).map_err(|error| refusal::usage(error.to_string()))?;
                Some(TimeDelta::from_std(lifetime).map_err(|error| refusal::usage(error.to_string()))?)
            }
            None => None,
        };
        let apps: Result<Vec<AppName>, Status> = asked.apps.iter().map(|app| parse(app)).collect();
        let name = if asked.name.is_empty() { role.to_string() } else { asked.name };
        let wanted = TokenRequest { role, name, lifetime, apps: apps? };
        let (secret, token) = self.trust.create_token(wanted, (self.clock)()).await.map_err(|error| match error {
            TokenError::Name | TokenError::Lifetime | TokenError::AppsMissing | TokenError::AppsNotAllowed(_) => {
                refusal::usage(error.to_string())
            }
            TokenError::Random | TokenError::Store(_) => view::internal(&error),
        })?;
        tracing::info!(by = %by, token = %token.id, role = %token.role, "token created");
        let expires_at = token.expires.map(convert::from_timestamp);
        Ok(Response::new(pb::CreateTokenResponse { id: token.id, token: secret.expose().to_owned(), expires_at }))
    }

    pub(super) async fn all_tokens(&self, request: Request<pb::ListTokensRequest>) -> Answer<pb::ListTokensResponse> {
        self.may_administer(request).await?;
        let tokens = self.trust.tokens().await.map_err(view::store_failed)?;
        let token = |token: crate::trust::Token| pb::list_tokens_response::Token {
            id: token.id,
            role: token.role.to_string(),
            name: token.name,
            created_at: Some(convert::from_timestamp(token.created)),
            expires_at: token.expires.map(convert::from_timestamp),
            apps: token.apps.iter().map(ToString::to_string).collect(),
            used: token.used_at.is_some(),
            revoked: token.revoked_at.is_some(),
        };
        Ok(Response::new(pb::ListTokensResponse { tokens: tokens.into_iter().map(token).collect() }))
    }

    pub(super) async fn bar_token(&self, request: Request<pb::RevokeTokenRequest>) -> Answer<pb::RevokeTokenResponse> {
        let (by, asked) = self.may_administer(request).await?;
        if !self.trust.revoke_token(&asked.id, (self.clock)()).await.map_err(view::store_failed)? {
            return Err(refusal::not_found("token", &asked.id, "token list"));
        }
        tracing::info!(by = %by, token = %asked.id, "token revoked");
        Ok(Response::new(pb::RevokeTokenResponse {}))
    }
}
