//! Memory of guests.

use std::collections::BTreeMap;

use hugefolio::Machine;

use super::draw::Draw;
use crate::op::Op;

/// What there is of it.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// Files by process and name: their length and their page in bytes.
    files: BTreeMap<(u16, String), (u64, u64)>,
    /// Mappings by process and name: the part of a file.
    views: BTreeMap<(u16, String), (u64, u64)>,
    pins: Vec<String>,
    /// The page of the file that is being made.
    making: u64,
}

const BASE: u64 = 4096;

impl Draw {
    pub(super) fn guest(&mut self, machine: &Machine) -> Option<String> {
        let few = self.guests.files.len() < 2;
        if self.guests.files.is_empty() || self.random.percent(if few { 20 } else { 4 }) {
            return self.guest_file(machine);
        }
        let files: Vec<_> = self.guests.files.iter().map(|(key, of)| (key.clone(), *of)).collect();
        let ((actor, file), (len, page)) = self.random.any(files)?;
        let range = self.guest_range(len, page);
        Some(match self.random.below(40) {
            0..9 => format!("a{actor} gmem_convert {file} {range} {}", self.random.of(&["private", "shared"])),
            9..16 => {
                let value =
                    if self.random.percent(50) { format!(" = {}", self.random.below(200)) } else { String::new() };
                format!("a{actor} guest_touch {file} {}{value}", self.guest_page(len, page))
            }
            16..18 => format!("a{actor} gmem_allocate {file} {range}"),
            18..20 => format!("a{actor} gmem_punch {file} {range}"),
            20 => format!("a{actor} gmem_truncate {file} {}", self.random.of(&[len, len, 0, page, len / 2])),
            21 => format!("a{actor} gmem_bind {file}{}", self.random.of(&["", " frame=0", " frame=512", " frame=7"])),
            22..25 => format!("a{actor} gmem_map V{} {file} {range}", self.random.below(3)),
            25..30 => self.host_touch()?,
            30 => self.host_unmap()?,
            31..33 => self.host_pin()?,
            33..36 => self.host_unpin()?,
            36 => {
                format!("a{actor} gmem_split {file} {} {}", self.guest_page(len, page), self.random.of(&[0, 1, 4, 9]))
            }
            37 => format!("a{actor} gmem_merge {file}"),
            38 if self.random.percent(20) => format!("a{actor} gmem_fail {file} {}", self.guest_page(len, page)),
            38 if self.random.percent(20) => {
                "gmem_conversion =0".replace(" =0", if self.random.percent(30) { " 0" } else { " 1" })
            }
            _ => format!("a{actor} close {file}"),
        })
    }

    fn guest_file(&mut self, machine: &Machine) -> Option<String> {
        let actor = self.actor()?;
        let name = self.random.below(3);
        let sizes = Self::sizes(machine);
        if self.random.percent(15) {
            self.guests.making = BASE;
            return Some(format!("a{actor} gmem_create G{name} {}", self.random.of(&["2M", "64K", "1M", "4K", "6M"])));
        }
        let page = *self.random.of(&sizes);
        self.guests.making = page;
        let len = page * u64::from(self.random.between(1, 3));
        let flags = *self.random.of(&["", "", "", " flags=huge", " flags=mmap,huge,shared", " flags=shared,huge"]);
        Some(format!("a{actor} gmem_create G{name} {len} pagesize={page}{flags}"))
    }

    /// A page near where something begins or ends, as a rule.
    fn guest_page(&mut self, len: u64, page: u64) -> u64 {
        let (all, huge) = (len / BASE, page / BASE);
        let any = u64::from(self.random.below(u32::try_from(all).unwrap_or(u32::MAX)));
        *self.random.of(&[0, 1, 3, 3, 5, huge - 1, huge, huge + 1, all.saturating_sub(1), all, any, any])
    }

    fn guest_range(&mut self, len: u64, page: u64) -> String {
        if self.random.percent(20) {
            return format!("0..{len}");
        }
        let (a, b) = (self.guest_page(len, page), self.guest_page(len, page));
        let (first, end) = (a.min(b), if self.random.percent(50) { a.min(b) + 1 } else { a.max(b) + 1 });
        let odd = if self.random.percent(3) { 1 } else { 0 };
        format!("{}..{}", first * BASE + odd, end * BASE)
    }

    fn a_view(&mut self) -> Option<(u16, String, u64)> {
        let views: Vec<_> = self.guests.views.iter().map(|(key, of)| (key.clone(), *of)).collect();
        let ((actor, name), (first, end)) = self.random.any(views)?;
        let pages = u32::try_from((end - first) / BASE).unwrap_or(u32::MAX);
        let near = *self.random.of(&[0, 1, 3, 5, pages.saturating_sub(1), self.random.clone().below(pages.max(1))]);
        Some((actor, name, first / BASE + u64::from(near)))
    }

    fn host_touch(&mut self) -> Option<String> {
        let (actor, view, page) = self.a_view()?;
        let value = if self.random.percent(50) { format!(" = {}", self.random.below(200)) } else { String::new() };
        Some(format!("a{actor} gmem_touch {view} {page}{value}"))
    }

    fn host_unmap(&mut self) -> Option<String> {
        let (actor, view, _) = self.a_view()?;
        Some(format!("a{actor} gmem_unmap {view}"))
    }

    fn host_pin(&mut self) -> Option<String> {
        let (actor, view, page) = self.a_view()?;
        Some(format!("a{actor} gmem_pin K{} {view} {page}", self.random.below(4)))
    }

    fn host_unpin(&mut self) -> Option<String> {
        let pin = self.random.any(self.guests.pins.clone())?;
        let atomic = if self.random.percent(30) { " atomic" } else { "" };
        Some(format!("gmem_unpin {pin}{atomic}"))
    }

    pub(super) fn observe_guests(&mut self, op: &Op) {
        let guests = &mut self.guests;
        match op {
            Op::GmemCreate(call) => {
                let key = (call.actor.number(), call.file.as_str().to_owned());
                guests.files.insert(key, (call.len.unsigned(), guests.making.max(BASE)));
            }
            Op::Close(call) => _ = guests.files.remove(&(call.actor.number(), call.file.as_str().to_owned())),
            Op::GmemMap(call) => {
                let (first, end) = (call.range.off.unsigned(), call.range.off.unsigned() + call.range.len.unsigned());
                guests.views.insert((call.actor.number(), call.map.as_str().to_owned()), (first, end.max(first)));
            }
            Op::GmemUnmap(call) => _ = guests.views.remove(&(call.actor.number(), call.map.as_str().to_owned())),
            Op::GmemPin(call) => guests.pins.push(call.pin.as_str().to_owned()),
            Op::GmemUnpin(call) => guests.pins.retain(|pin| pin != call.pin.as_str()),
            Op::Exit(_) | Op::Kill(_) => {
                let gone = op.actor().map(|actor| actor.number());
                guests.files.retain(|(actor, _), _| Some(*actor) != gone);
                guests.views.retain(|(actor, _), _| Some(*actor) != gone);
            }
            _ => {}
        }
    }
}
