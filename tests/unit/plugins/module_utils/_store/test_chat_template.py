# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from tests.unit.plugins.module_utils._store.local_store import Place


def test_chat_template(place: Place) -> None:
    assert place.run(chat_template="{{ a }}\n").facts["chat_template"] == str(place.template)
    assert place.template.read_text() == "{{ a }}\n"
    assert not place.run(chat_template="{{ a }}\n").changed
    assert place.run(chat_template="{{ b }}").changed
    assert place.template.read_text() == "{{ b }}"
    assert place.run(check=True).changed
    assert place.run().changed
    assert not place.template.exists()
    for text in (" \n", "no expression", "{{ x }}" + " " * (1 << 20)):
        assert place.error(chat_template=text).id == "model.chat_template_invalid"
