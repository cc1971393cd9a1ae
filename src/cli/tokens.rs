//! `token`: who may ask a daemon over HTTP.

use serde_json::json;

use super::args::{RoleArg, TokenAddArgs, TokenCommand};
use super::client::{Client, part};
use super::context::Context;
use super::output::{quote, time};
use super::table::table;
use crate::api::daemon::{Role, Token, TokenMade, TokenRemovedSummary, Tokens};
use crate::error::Result;

pub(super) fn token(context: &Context, command: &TokenCommand) -> Result<()> {
    let client = Client::of(context)?;
    match command {
        TokenCommand::Add(args) => add(context, &client, args)?,
        TokenCommand::List => list(context, &client)?,
        TokenCommand::Remove { name } => {
            client.delete(&format!("/tokens/{}", part(name)))?;
            context.out.json_summary(&TokenRemovedSummary { name: name.clone() });
            context.out.summary(format_args!("the token {} opens nothing any more", quote(name)));
        }
    }
    Ok(())
}

fn add(context: &Context, client: &Client, args: &TokenAddArgs) -> Result<()> {
    let role = match args.role {
        RoleArg::Viewer => Role::Viewer,
        RoleArg::Operator => Role::Operator,
        RoleArg::Admin => Role::Admin,
    };
    let wanted = json!({
        "name": args.name, "role": role, "looks": args.looks, "days": args.days,
    });
    let made: TokenMade = client.post("/tokens", &wanted)?;
    if context.out.json {
        context.out.json_summary(&made);
        return Ok(());
    }
    context.out.data(&made.secret);
    context.out.note(format_args!(
        "this is the token {}, {}{}; it is told this once",
        quote(&made.token.name),
        role.name(),
        made.token.expires.map_or(String::new(), |end| format!(" until {}", time(end)))
    ));
    Ok(())
}

fn list(context: &Context, client: &Client) -> Result<()> {
    let Tokens { tokens } = client.get("/tokens")?;
    if context.out.json {
        tokens.iter().for_each(|token| context.out.object(token));
        return Ok(());
    }
    let row = |token: &Token| {
        vec![
            token.name.clone(),
            token.role.name().to_owned(),
            if token.looks { "yes" } else { "no" }.to_owned(),
            time(token.created),
            token.expires.map_or_else(|| "never".to_owned(), time),
        ]
    };
    let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
    let header = ["TOKEN", "ROLE", "LOOKS", "MADE", "ENDS"];
    table(&header, &rows, &[]).into_iter().for_each(|line| context.out.line(line));
    Ok(())
}
