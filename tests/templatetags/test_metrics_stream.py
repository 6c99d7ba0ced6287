from pathlib import Path

import pytest
from django.template import Context, Template
from django.test import override_settings

from metrics_stream.models import Panel
from metrics_stream.templatetags.metrics_stream import imported_modules


@pytest.fixture
def modules(tmp_path: Path, settings) -> Path:
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATICFILES_DIRS = [tmp_path]
    (tmp_path / "pages").mkdir()
    return tmp_path


def test_all_that_a_module_imports_is_found_once_and_near_ones_first(modules: Path):
    (modules / "pages/page.js").write_text(
        '// import "./not.js";\n'
        'import { one } from "./one.js";\n'
        'import {\n  two,\n  other as another,\n} from "../two.js";\n'
        'const text = "import from ./neither.js";\n'
        'import elsewhere from "somewhere";\n'
    )
    (modules / "pages/one.js").write_text("import '../three.js'\nimport { a } from './page.js';\n")
    (modules / "two.js").write_text('export * from "./pages/one.js";\nexport const from = "./no.js";\n')
    (modules / "three.js").write_text("")
    assert imported_modules("pages/page.js") == ("pages/one.js", "two.js", "three.js")


@pytest.mark.parametrize("debug", [True, False])
def test_tag_fetches_what_the_module_imports_before_it_runs_it(modules: Path, debug: bool):
    (modules / "pages/tag.js").write_text('import { one } from "./one & only.js";')
    (modules / "pages/one & only.js").write_text("")
    with override_settings(DEBUG=debug, STATIC_URL="/static/"):
        text = Template('{% load metrics_stream %}{% module_script "pages/tag.js" %}').render(Context())
    assert text == (
        '<link rel="modulepreload" href="/static/pages/one%20%26%20only.js">\n'
        '<script type="module" src="/static/pages/tag.js"></script>'
    )


def test_tags_link_the_style_sheet_and_the_module_of_each_kind_once(modules: Path, settings):
    settings.DEBUG = True  # without it, the imports of a module are read once in a process
    (modules / "metrics_stream/charts").mkdir(parents=True)
    (modules / "metrics_stream/charts/bar.js").write_text('import { element } from "./dom.js";\n')
    (modules / "metrics_stream/charts/line.js").write_text('import { element } from "./dom.js";\n')
    panels = [Panel(kind=kind) for kind in ("line", "bar", "line")]
    tags = "{% load metrics_stream %}{% chart_styles panels %}|{% chart_modules panels %}"
    styles, links = Template(tags).render(Context({"panels": panels})).split("|")
    assert styles.splitlines() == [
        '<link rel="stylesheet" href="/static/metrics_stream/css/charts/bar.css">',
        '<link rel="stylesheet" href="/static/metrics_stream/css/charts/line.css">',
    ]
    assert links.splitlines() == [
        '<link rel="modulepreload" href="/static/metrics_stream/charts/bar.js" data-chart="bar">',
        '<link rel="modulepreload" href="/static/metrics_stream/charts/line.js" data-chart="line">',
        '<link rel="modulepreload" href="/static/metrics_stream/charts/dom.js">',
    ]
