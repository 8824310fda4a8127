//! The inputs of a route: known to its operation, where they may be, and enough of them.

use super::{Faults, cookie_of};
use crate::dialect::Dialect;
use crate::dialect::operation::{Input, Operation};
use crate::dialect::place::{Place, PlaceKind};
use crate::dialect::route::DialectRoute;

pub(super) fn inputs(faults: &mut Faults<'_>, dialect: &Dialect, route: &DialectRoute) {
    let operation = route.operation;
    for (input, places) in &route.inputs {
        if !operation.inputs().contains(input) {
            let message = format!("`{}` takes no {}", operation.word(), input.word());
            faults.add(&["in", input.word()], message, help(operation));
            continue;
        }
        if places.is_empty() {
            faults.add(&["in", input.word()], "is nowhere", "write a place, like \"body.x\"");
        }
        for (index, place) in places.iter().enumerate() {
            if places[..index].contains(place) {
                faults.add(&["in", input.word()], format!("{place} is read twice"), "remove one");
            }
            self::place(faults, dialect, route, *input, place);
        }
    }
    for group in operation.must_be_told() {
        if !group.iter().any(|input| route.inputs.contains_key(input)) {
            let words: Vec<_> = group.iter().map(|input| input.word()).collect();
            let message = format!("`{}` needs {}", operation.word(), words.join(" or "));
            faults.add(&["in"], message, format!("say where it is, like in.{} = \"body.x\"", words[0]));
        }
    }
    for input in &route.required {
        if !route.inputs.contains_key(input) {
            let message = format!("requires {}, which is read nowhere", input.word());
            faults.add(&["required"], message, format!("say where it is in `in`, or remove {:?}", input.word()));
        }
    }
}

fn help(operation: Operation) -> String {
    let words: Vec<_> = operation.inputs().iter().map(|input| input.word()).collect();
    if words.is_empty() { "it takes nothing: remove `in`".to_owned() } else { format!("it takes {}", words.join(", ")) }
}

fn place(faults: &mut Faults<'_>, dialect: &Dialect, route: &DialectRoute, input: Input, place: &Place) {
    let allowed = input.may_be_in(route.operation);
    if !allowed.contains(&place.kind()) {
        let examples: Vec<_> = allowed.iter().map(|kind| kind.example()).collect();
        let message = match place.kind() {
            PlaceKind::Query => format!("{} in a URL would be in every log and history", input.word()),
            PlaceKind::Cookie => format!("browsers send cookies unasked: no {} is read from one", input.word()),
            PlaceKind::Bearer => format!("a bearer token is no {}", input.word()),
            PlaceKind::Body => format!("{} is not read from a body", input.word()),
        };
        faults.add(&["in", input.word()], message, format!("write {}", examples.join(" or ")));
        return;
    }
    if place.kind() != PlaceKind::Cookie {
        return;
    }
    let expected = if input == Input::Ticket { &dialect.ticket_cookie } else { &dialect.refresh_cookie };
    let key = if input == Input::Ticket { "cookie.ticket" } else { "cookie.refresh" };
    match (cookie_of(dialect, place), expected) {
        (Some(found), Some(expected)) if found == expected => {
            if let Some(on) = route.on.iter().find(|on| !found.reaches(&on.path)) {
                let message =
                    format!("browsers do not send `{}` to {}: its path is {}", found.name, on.path.as_str(), found.path.as_str());
                faults.add(&["in", input.word()], message, format!("widen {key}.path, or read it elsewhere"));
            }
        }
        _ => {
            let message = format!("the dialect puts no {} into a cookie of this name", input.word());
            faults.add(&["in", input.word()], message, format!("name the cookie of {key}, or add one"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operation_must_be_told_is_something_that_it_takes() {
        for operation in Operation::ALL {
            for input in operation.must_be_told().iter().copied().flatten() {
                assert!(operation.inputs().contains(input), "{operation:?} {input:?}");
                assert!(!input.may_be_in(*operation).is_empty());
            }
        }
    }
}
