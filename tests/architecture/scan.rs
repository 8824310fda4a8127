//! Reads Rust files into what `architecture.rs` judges: each path that a file mentions, where, and whether in a test.

use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use walkdir::WalkDir;

/// One source file.
pub(crate) struct File {
    /// From the crate's root, with forward slashes: `src/policy/route.rs`.
    pub(crate) path: String,
    /// `policy::route`; `lib` and `main` for the crate's roots.
    pub(crate) module: String,
    /// Whether it opens with `//!`.
    pub(crate) has_doc: bool,
    /// Every path it mentions, in the order of the text.
    pub(crate) references: Vec<Reference>,
    /// Files that it declares as `#[cfg(test)] mod name;`, without `.rs` and `/mod.rs`.
    test_files: Vec<String>,
}

/// A path of at least one segment, as written but for `self` and `super`, which are resolved.
pub(crate) struct Reference {
    segments: Vec<String>,
    /// From 1.
    pub(crate) line: usize,
    /// Inside `#[cfg(test)]`.
    pub(crate) in_test: bool,
    /// Begins with `::`, so that it cannot be a local module.
    absolute: bool,
    /// The first segment names a module declared in this file, so that it cannot be a crate.
    local: bool,
}

impl Reference {
    /// What is imported from this crate, without `crate::`.
    pub(crate) fn crate_path(&self) -> Option<String> {
        let (first, rest) = self.segments.split_first()?;
        (first == "crate" && !rest.is_empty() && !self.absolute).then(|| rest.join("::"))
    }

    /// Whether it begins in the outside crate `name`.
    pub(crate) fn is_outside(&self, name: &str) -> bool {
        self.segments.len() > 1 && self.segments[0] == name && !self.local
    }

    /// Whether its last segments are `suffix`.
    pub(crate) fn ends_with(&self, suffix: &str) -> bool {
        let suffix: Vec<&str> = suffix.split("::").collect();
        self.segments.iter().rev().map(String::as_str).take(suffix.len()).eq(suffix.iter().rev().copied())
    }
}

/// Every Rust file under `source`, sorted by path.
pub(crate) fn tree(source: &Path) -> Vec<File> {
    let entries = WalkDir::new(source).sort_by_file_name().into_iter().map(|entry| entry.expect("the tree is readable"));
    let paths = entries.map(walkdir::DirEntry::into_path).filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let mut files: Vec<File> = paths.map(|path| file(source, &path)).collect();
    let tests: Vec<String> = files.iter_mut().flat_map(|file| std::mem::take(&mut file.test_files)).collect();
    for file in files.iter_mut().filter(|file| tests.iter().any(|test| is_beneath(&file.path, test))) {
        file.references.iter_mut().for_each(|reference| reference.in_test = true);
    }
    files
}

/// Whether `path` is the file of the module at `module`, or of a part of it.
fn is_beneath(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn file(source: &Path, path: &Path) -> File {
    let inner = path.strip_prefix(source).expect("walked from there");
    let inner = inner.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
    let text = std::fs::read_to_string(path).expect("the file is readable");
    let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("src/{inner}:{}: {error}", error.span().start().line));
    let module = inner.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
    let declared = || {
        syntax.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) => Some(module),
            _ => None,
        })
    };
    let modules = declared().map(|module| module.ident.to_string()).collect();
    let test_modules = declared().filter(|module| module.content.is_none() && module.attrs.iter().any(is_cfg_test));
    let test_files = test_modules.map(|test| format!("src/{}", file_of(&inner, test))).collect();
    let mut reader = Reader { here: here(&module), modules, in_test: false, references: Vec::new() };
    reader.visit_file(&syntax);
    File { path: format!("src/{inner}"), module, has_doc: text.starts_with("//!"), references: reader.references, test_files }
}

/// Where the text of `module`, declared in the file `declaring`, is: without `.rs` and `/mod.rs`.
fn file_of(declaring: &str, module: &syn::ItemMod) -> String {
    let beside = declaring.rsplit_once('/').map_or("", |(directory, _)| directory);
    let is_directory = ["mod.rs", "lib.rs", "main.rs"].iter().any(|root| declaring.ends_with(root));
    let beneath = if is_directory { beside } else { declaring.trim_end_matches(".rs") };
    let named = module.attrs.iter().find(|attribute| attribute.path().is_ident("path")).and_then(path_text);
    let (directory, name) = named.map_or_else(|| (beneath, module.ident.to_string()), |path| (beside, path));
    format!("{directory}/{}", name.trim_end_matches(".rs")).trim_start_matches('/').to_owned()
}

/// The text of `#[path = "text"]`.
fn path_text(attribute: &syn::Attribute) -> Option<String> {
    match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// The segments that `self::` stands for at the top of a file.
fn here(module: &str) -> Vec<String> {
    let root = (module != "lib" && module != "main").then_some(module);
    ["crate"].into_iter().chain(root.into_iter().flat_map(|module| module.split("::"))).map(str::to_owned).collect()
}

struct Reader {
    /// The module being read.
    here: Vec<String>,
    /// Modules that the file declares.
    modules: Vec<String>,
    in_test: bool,
    references: Vec<Reference>,
}

impl Reader {
    fn note(&mut self, segments: &[String], line: usize, absolute: bool) {
        let local = !absolute && segments.first().is_some_and(|first| self.modules.contains(first));
        let segments = self.resolve(segments);
        self.references.push(Reference { segments, line, in_test: self.in_test, absolute, local });
    }

    /// Replaces a leading `self` or row of `super`s by what it stands for.
    fn resolve(&self, segments: &[String]) -> Vec<String> {
        let supers = segments.iter().take_while(|segment| *segment == "super" || *segment == "self").count();
        if supers == 0 {
            return segments.to_vec();
        }
        let up = segments[..supers].iter().filter(|segment| *segment == "super").count();
        let kept = self.here.len().saturating_sub(up).max(1);
        self.here[..kept].iter().chain(&segments[supers..]).cloned().collect()
    }

    /// Every leaf of a `use` tree as a whole path; `as` and `*` do not change what is imported.
    fn read_use(&mut self, tree: &syn::UseTree, before: &[String], absolute: bool) {
        let with = |ident: &syn::Ident| -> Vec<String> {
            // `a::{self}` is `a`.
            let own = (ident != "self" || before.is_empty()).then(|| ident.to_string());
            before.iter().cloned().chain(own).collect()
        };
        match tree {
            syn::UseTree::Path(path) => {
                let before = with(&path.ident);
                self.read_use(&path.tree, &before, absolute);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.read_use(item, before, absolute)),
            syn::UseTree::Name(name) => self.note(&with(&name.ident), name.span().start().line, absolute),
            syn::UseTree::Rename(rename) => self.note(&with(&rename.ident), rename.span().start().line, absolute),
            syn::UseTree::Glob(glob) => self.note(before, glob.span().start().line, absolute),
        }
    }

    /// Paths inside a macro's arguments: syn leaves those as tokens.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_path(&mut path, line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.end_path(&mut path, line);
                    self.read_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.end_path(&mut path, line),
            }
            colons = 0;
        }
        self.end_path(&mut path, line);
    }

    fn end_path(&mut self, path: &mut Vec<String>, line: usize) {
        let path = std::mem::take(path);
        // A single word in a macro is a variable or a field more often than not.
        if path.len() > 1 {
            self.note(&path, line, false);
        }
    }

    fn within_test(&mut self, attributes: &[syn::Attribute], read: impl FnOnce(&mut Self)) {
        let before = self.in_test;
        self.in_test |= attributes.iter().any(is_cfg_test);
        read(self);
        self.in_test = before;
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.within_test(attributes(item), |reader| visit::visit_item(reader, item));
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.here.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.here.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.read_use(&item.tree, &[], item.leading_colon.is_some());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&segments, path.span().start().line, path.leading_colon.is_some());
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // `Instant::elapsed` and `SystemTime::elapsed` compare with the present; nothing of ours has that name.
        if call.method == "elapsed" && call.args.is_empty() {
            self.note(&["Instant".to_owned(), "elapsed".to_owned()], call.method.span().start().line, false);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(in crate::x)` imports nothing.
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {
        // Derives and lints name no module of ours.
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.read_tokens(call.tokens.clone());
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|argument| argument.is_ident("test"))
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
