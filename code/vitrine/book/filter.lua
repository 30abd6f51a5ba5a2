-- The book's constructs for Pandoc: floats, callouts, tabs, folded code, numbers and references.
--
-- It runs twice. First over each chapter: what it knows becomes HTML or Typst, what it does not know
-- is refused, and labels, search entries and titles are noted. Then, when all labels of the book
-- are known, over the result: references become links. VITRINE holds the settings as JSON.

local env = pandoc.json.decode(os.getenv 'VITRINE')
local html = env.target == 'html'
local NBSP = '\u{a0}'
local NUMBER = '\u{e000}' -- stands for the chapter's number until all chapters are read
local NAMES = { fig = 'Figure', tbl = 'Table' }
local CALLOUTS = { note = 'Note', tip = 'Tip', important = 'Important', warning = 'Warning', caution = 'Caution' }
local COLUMNS = { 'column-body', 'column-page', 'column-screen-inset', 'column-screen' }
local PARTS = { 'cell-output', 'cell-output-display', 'cell-output-markdown', 'cell-output-stdout', 'cell-output-stderr', 'cell-output-error' }
local NO_LABEL = { lst = 1, eq = 1, thm = 1, lem = 1, cor = 1, prp = 1, cnj = 1, def = 1, exm = 1, exr = 1, sol = 1, rem = 1, alg = 1, tip = 1, nte = 1, wrn = 1, imp = 1, cau = 1, dia = 1, vid = 1, supp = 1 }

local stringify = pandoc.utils.stringify
local cell, heading = '', '' -- where we are, for errors

-- Stop with a message for Python: the problem, the remedy, and texts that lead to a line.
local function refuse(problem, remedy, ...)
  error('\1' .. pandoc.json.encode { problem = problem, remedy = remedy, near = { ... }, within = { cell, heading } } .. '\1')
end

local function block(text) return pandoc.RawBlock(env.target, text) end
local function inline(text) return pandoc.RawInline(env.target, text) end
local function wrapped(opening, inlines, closing)
  local out = pandoc.Inlines { inline(opening) }
  out:extend(inlines)
  out:insert(inline(closing))
  return pandoc.Plain(out)
end
local function enclosed(opening, body, closing)
  local out = pandoc.Blocks { block(opening) }
  out:extend(body)
  out:insert(block(closing))
  return out
end
local function call(name, arguments, inlines, body, after) -- in Typst: #name(arguments: [inlines])[body]
  local out = pandoc.Blocks { wrapped(('#%s(%s: ['):format(name, arguments), inlines, '])[') }
  out:extend(body)
  out:insert(block(']' .. (after or '')))
  return out
end
local function escape(text) return (text:gsub('&', '&amp;'):gsub('<', '&lt;'):gsub('>', '&gt;'):gsub('"', '&quot;')) end
local function quoted(text) return '"' .. text:gsub('\\', '\\\\'):gsub('"', '\\"'):gsub('\n', '\\n') .. '"' end
local function label(index, id)
  local safe = id:gsub('[^%w-]', function(c) return ('_%x_'):format(c:byte()) end)
  return ('<c%d%s>'):format(index, id ~= '' and '-' .. safe or '')
end
local function anchor(id) return ('#[#metadata(none)%s]'):format(label(env.index, id)) end
local function restored(text) return (text:gsub('{=html%-as%-written}', '{=html}')) end
local function verbatim(text) return (restored(text):gsub('{{{<', '{{<'):gsub('>}}}', '>}}')) end
local function decoded(url) return (url:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end)) end
local function numbering(number) return number and 'numbering: (..) => ' .. quoted(number) or 'numbering: none' end
local function kind_of(id)
  local kind = id:match '^(%a+)%-.'
  return NAMES[kind] and kind or nil
end
local function only_images(para)
  for _, e in ipairs(para.content) do if e.t ~= 'Image' and e.t ~= 'Space' and e.t ~= 'SoftBreak' then return false end end
  return true
end
local function markdown(text) return pandoc.utils.blocks_to_inlines(pandoc.read(text, 'markdown').blocks) end

-- Checks

local function allow(element, what, classes, attributes, own)
  for _, class in ipairs(element.classes) do
    if not pandoc.List(classes):includes(class) and not (own and class:match '^vitrine%-[a-z0-9-]+$') then
      refuse(('unknown %s %s'):format(what, class), 'Remove it, or correct its name', class)
    end
  end
  for key in pairs(element.attributes) do
    if not pandoc.List(attributes):includes(key) then refuse('unknown attribute ' .. key, 'Remove it, or correct its name', key .. '=', key) end
  end
end

local function check_id(id)
  if NO_LABEL[id:match '^(%a+)%-.' or ''] then
    refuse(('labels like %s are not supported'):format(id), 'Number figures (fig-), tables (tbl-) and sections (sec-) only', '#' .. id)
  end
end

-- Inlines

local moving, lower = {}, nil

local function inside(path) -- a path in the chapter as one from the project's root
  path = decoded(path)
  local parts = {}
  for part in (path:match '^/' and path or env.folder .. '/' .. path):gmatch '[^/]+' do
    if part == '..' and #parts > 0 and parts[#parts] ~= '..' then parts[#parts] = nil elseif part ~= '.' then parts[#parts + 1] = part end
  end
  path = table.concat(parts, '/')
  local files = (env.folder ~= '' and env.folder .. '/' or '') .. env.stem .. '_files/'
  if path:sub(1, #files) == files then path = env.frozen .. '/' .. path:sub(#files + 1) end
  return path
end

local function size(key, written)
  local number, unit = written:match '^(%d+%.?%d*)(%D*)$'
  if not number or not pandoc.List { '', '%', 'px', 'in', 'cm', 'mm', 'pt', 'em' }:includes(unit) then
    refuse(('an image cannot have the %s %q'):format(key, written), 'Write a number with %, px, in, cm, mm, pt or em', key .. '=' .. written)
  end
  if unit == '' or unit == 'px' then return ('%gpt'):format(number * 0.75) end -- CSS pixels are 1/96 inch
  return number .. unit
end

local function checked(i) -- an image with nothing but alternative text and size
  allow(i, 'class', {}, { 'fig-alt', 'alt', 'width', 'height', 'fig-align', 'loading' }, true)
  local alt = i.attributes['fig-alt'] or i.attributes.alt
  if not alt and #i.caption == 0 then
    refuse(('the image %s has no alternative text'):format(i.src), 'Write ![text](file) or add fig-alt="text" (fig-alt="" when it only decorates)', i.src)
  end
  if i.src:match '^//' or i.src:match '^%a[%w+.-]*:' and not i.src:match '^data:' then
    refuse(('the page would load %s from another host'):format(i.src:sub(1, 80)), 'Put the file into the project', i.src)
  end
  local kept = { { 'alt', alt or stringify(i.caption) } } -- in this order, so that pages come out the same
  for _, key in ipairs { 'width', 'height' } do if i.attributes[key] then kept[#kept + 1] = { key, i.attributes[key] } end end
  if html then kept[#kept + 1] = { 'loading', 'lazy' } end
  i.attr, i.caption = pandoc.Attr(i.identifier, i.classes, kept), {}
  return i
end

local function placed(name, image) -- by one of the two functions of report.typ
  image = checked(image)
  local out = quoted('/' .. inside(image.src)) .. ', alt: ' .. quoted(image.attributes.alt)
  for _, key in ipairs { 'width', 'height' } do
    if image.attributes[key] then out = out .. (', %s: %s'):format(key, size(key, image.attributes[key])) end
  end
  return ('#%s(%s)'):format(name, out)
end

local function simple(place) -- what table cells and notes may not hold
  local function no(element)
    refuse(('a %s holds more than text, lists and code'):format(place), 'Move figures, callouts and the like out of it', (stringify(element):match '%S+'))
  end
  return { Div = no, Header = no, Figure = no }
end

local function raw(r)
  if r.format == 'html-as-written' then return html and r.t == 'RawBlock' and pandoc.RawBlock('html', restored(r.text)) or html and inline(restored(r.text)) or {} end
  if r.format == 'typst' then return html and {} or r end
  local first = r.text:match '[^\n]+' or ''
  if r.format ~= 'html' then refuse(('raw %s is not supported'):format(r.format), 'Use {=html} and {=typst}', first, '{=' .. r.format .. '}') end
  if r.text:match '^%s*<!%-%-.*%-%->%s*$' then return {} end
  refuse(('the HTML %q stands outside a raw block'):format(first:sub(1, 40)), 'Put it in a ```{=html} block, and what the PDF shows in ```{=typst}', first)
end

local inlines = {
  Str = function(s)
    if s.text:match '{{<' then refuse('shortcodes are not supported: ' .. s.text, 'Remove it, and write here what it stands for', '{{<') end
    check_id(s.text:match '^{#(.-)}?$' or '') -- as after an equation
    s.text = restored(s.text)
    return s
  end,
  Math = function(m) m.text = restored(m.text) return m end,
  Code = function(c)
    if c.text:match '^{%a[%w.]*}%s' or (c.classes[1] or ''):match '^{' then refuse(('the expression %q was not executed'):format((c.text:gsub('\n', ' '))), 'Run `vitrine freeze`; cells and expressions are in Python, and a chapter with expressions has a cell', c.text:match '%S+') end
    allow(c, 'code class', { c.classes[1] }, {})
    c.text = verbatim(c.text)
    if not html then c.identifier = '' end
    return c
  end,
  RawInline = raw,
  RawBlock = raw,
  Note = function(n) n.content:walk(simple 'footnote') end,
  Span = function(s)
    allow(s, 'class', { 'smallcaps', 'underline', 'mark' }, {}, true)
    check_id(s.identifier)
    if html or s.identifier == '' then return s end
    local id = s.identifier
    s.identifier = ''
    return { inline(anchor(id)), s }
  end,
  Link = function(l)
    allow(l, 'class', { 'uri', 'email' }, { 'download', 'rel', 'hreflang', 'type' }, true)
    if l.target:match '{{<' or l.target:match '%%7B%%7B%%3C' then refuse('shortcodes are not supported: ' .. l.target, 'Write the address', '{{<') end
    local scheme = l.target:match '^(%a[%w+.-]*):'
    if scheme and not pandoc.List { 'http', 'https', 'mailto' }:includes(scheme) then
      refuse(('links to %s: are not allowed'):format(scheme), 'Use https:, mailto: or a file of the project', l.target)
    end
    if scheme then return l end
    local file, id = l.target:match '^([^#]*)#?(.*)$'
    local index = file == '' and env.index or env.pages[(inside(file):gsub('%.html$', '.qmd'))]
    if html then
      if index and file ~= '' then l.target = l.target:gsub('%.qmd', '.html', 1) end
      return l
    end
    -- The PDF travels without the site, so files that lie beside it cannot be linked.
    if not index and next(env.pages) and file:match '%.qmd$' then refuse(('the chapter %s does not exist'):format(file), 'Correct the link', l.target) end
    if not index then return l.content end
    return wrapped(('#link(%s)['):format(label(index, decoded(id))), l.content, ']').content
  end,
  Image = function(i) return html and checked(i) or inline(placed('inline-picture', i) .. ';') end,
}

-- Floats

local sections, counts, labels, floats = {}, { fig = 0, tbl = 0 }, {}, {}
local parent -- the float around the one being read

local function define(id, name, number)
  if labels[id] then refuse(('the label %s is used twice'):format(id), 'Rename one of them', '#' .. id, 'label: ' .. id) end
  labels[id] = { name = name, number = number, page = env.page, index = env.index }
end

local function describe(blocks, caption) -- the caption stands for the text of images without any
  local text = stringify(caption)
  if text == '' then return blocks end
  return blocks:walk { Image = function(i)
    if #i.caption == 0 and not i.attributes['fig-alt'] and not i.attributes.alt then i.attributes.alt = text end
    return i
  end }
end

local function unlabelled(what, caption)
  refuse(('%s %q has a caption but no label'):format(what, stringify(caption):sub(1, 40)), 'Give it one, {#fig-…} or {#tbl-…}; an image without a caption is ![](file){fig-alt="…"}', (stringify(caption):gsub('^(.-%s.-)%s.*', '%1')))
end

local function columns(div, blocks) -- side by side
  local n = div.attributes['layout-ncol']
  if not n or #blocks == 0 then return lower(blocks) end
  if not n:match '^[1-9]%d?$' then refuse(('layout-ncol cannot be %q'):format(n), 'Write a number', 'layout-ncol') end
  local cells = pandoc.Blocks {}
  for position, b in ipairs(blocks) do
    local content = lower { b }
    if html then content = { pandoc.Div(content, { class = 'quarto-layout-cell' }) }
    elseif position > 1 then cells:insert(block '][') end
    cells:extend(content)
  end
  if not html then return enclosed(('#grid(columns: (1fr,) * %s, gutter: 1em)['):format(n), cells, ']') end
  local row = pandoc.Div(cells, { class = 'quarto-layout-row', style = '--columns: ' .. n })
  return pandoc.Blocks { pandoc.Div({ row }, { class = 'quarto-layout-panel' }) }
end

local function float(div, kind, content, caption, classes)
  local outer, number, name = parent, nil, NAMES[kind]
  if outer then
    outer.parts = outer.parts + 1
    local part = ('(%s)'):format(string.char(96 + outer.parts))
    define(div.identifier, NAMES[outer.kind], outer.number .. ' ' .. part)
    name, number = part, outer.number
  else
    counts[kind] = counts[kind] + 1
    number = (env.numbered and NUMBER .. '.' or '') .. counts[kind]
    define(div.identifier, name, number)
    name = name .. NBSP .. number .. (#caption > 0 and ':' or '')
  end
  parent = { kind = kind, number = number, parts = 0 }
  local sub = outer and 'subfloat' or 'float'
  local body = columns(div, describe(pandoc.Blocks(content), caption))
  parent = outer
  if #body == 0 then refuse(div.identifier .. ' is empty', 'Give it content', '#' .. div.identifier) end
  caption = caption:walk(inlines)
  if not outer then floats[#floats + 1] = { section = name:gsub(NBSP, ' '):gsub(':$', ''), anchor = div.identifier, text = stringify(caption) } end
  if not html then
    local moves = moving[div.identifier] and not outer and ', moves: true' or ''
    local arguments = ('kind: %q, number: %s%s, caption'):format(kind, quoted(name), moves)
    return call(outer and 'part-figure' or 'float-figure', arguments, caption, body, ' ' .. label(env.index, div.identifier))
  end
  local text = pandoc.Inlines { pandoc.Span({ pandoc.Str(name) }, { class = 'caption-number' }) }
  if #caption > 0 then text:insert(pandoc.Space()) end
  text:extend(caption)
  local figcaption = wrapped(('<figcaption class="quarto-%s-caption quarto-%s-%s">'):format(sub, sub, kind), text, '</figcaption>')
  for i, b in ipairs(body) do if b.t == 'Para' and only_images(b) then body[i] = pandoc.Plain(b.content) end end
  body:insert(kind == 'tbl' and 1 or #body + 1, figcaption)
  local class = table.concat({ 'quarto-float', ('quarto-%s-%s'):format(sub, kind), table.unpack(classes) }, ' ')
  return enclosed(('<figure class="%s" id="%s">'):format(escape(class), escape(div.identifier)), body, '</figure>')
end

local function bare(b) return b.t == 'Figure' and b.identifier == '' end
local function caption_inlines(b) return pandoc.utils.blocks_to_inlines(b.caption.long) end

local function labelled(div, kind, blocks, classes) -- a float from a Div: where is its caption?
  local written, caption = div.attributes[kind .. '-cap'], pandoc.Inlines {}
  local last = blocks[#blocks]
  if written then caption = markdown(written)
  elseif #blocks > 1 and last.t == 'Para' and not only_images(last) then caption = blocks:remove().content end
  local only = blocks[1]
  if #blocks == 1 and (bare(only) or only.t == 'Table' and only.identifier == '') then
    if #caption == 0 then caption = caption_inlines(only) end
    only.caption = { long = {} }
    if bare(only) then blocks = only.content end
  end
  return float(div, kind, blocks, caption, classes)
end

-- Callouts, tabs, cells

local function callout(d, kind)
  if not CALLOUTS[kind] then refuse('unknown callout type ' .. kind, 'Use note, tip, important, warning or caution', 'callout-' .. kind) end
  allow(d, 'class', { 'callout-' .. kind, table.unpack(COLUMNS) }, { 'title', 'collapse', 'appearance', 'icon' })
  local look, collapse, title = d.attributes.appearance or 'default', d.attributes.collapse, pandoc.Inlines {}
  for key, choice in pairs { appearance = { 'default', 'simple', 'minimal' }, collapse = { 'true', 'false' }, icon = { 'true', 'false' } } do
    local value = d.attributes[key]
    if value and not pandoc.List(choice):includes(value) then refuse(('%s cannot be %q'):format(key, value), 'Write one of ' .. table.concat(choice, ' '), key) end
  end
  if d.attributes.title then title = markdown(d.attributes.title)
  elseif d.content[1] and d.content[1].t == 'Header' then title = d.content:remove(1).content end
  title = title:walk(inlines)
  local named = pandoc.Inlines { pandoc.Str(CALLOUTS[kind]) }
  if #title == 0 and look == 'default' then title = named end
  local folded = pandoc.Blocks {} -- paper has the title of what is folded, and its labels
  if not html and collapse == 'true' then
    local function note(e) if kind_of(e.identifier) then folded:insert(block(anchor(e.identifier))) end end
    d:walk { Div = note, Figure = note, Table = note }
  end
  local body = lower(d.content)
  if not html and collapse == 'true' then
    folded:insert(pandoc.Para { pandoc.Emph { pandoc.Str 'On the site:', pandoc.Space(), table.unpack(title) }, pandoc.Str '.' })
    return folded
  end
  if not html then
    local titled = tostring(look == 'default' or #title > 0)
    body = call('callout', ('kind: %q, titled: %s, title'):format(kind, titled), #title > 0 and title or named, body)
    if d.identifier ~= '' then body:insert(1, block(anchor(d.identifier))) end
    return body
  end
  local icon = look ~= 'minimal' and d.attributes.icon ~= 'false'
  local class = { 'callout', 'callout-' .. kind, 'callout-style-' .. (look == 'minimal' and 'simple' or look) }
  if not icon then class[#class + 1] = 'no-icon' end
  if #title > 0 then class[#class + 1] = 'callout-titled' end
  for _, c in ipairs(d.classes) do if c:match '^column' then class[#class + 1] = c end end
  local drawn = '<span class="callout-icon-container" aria-hidden="true"><i class="callout-icon"></i></span>'
  local content = pandoc.Div(body, { class = 'callout-body-container callout-body' })
  if collapse then
    local id = d.identifier ~= '' and (' id="%s"'):format(escape(d.identifier)) or ''
    local opening = ('<details class="%s"%s%s><summary class="callout-header">%s<span class="callout-title-container">'):format(table.concat(class, ' '), id, collapse == 'false' and ' open' or '', drawn)
    return pandoc.Blocks { wrapped(opening, #title > 0 and title or named, '</span></summary>'), content, block '</details>' }
  end
  local out = pandoc.Blocks { content }
  if #title > 0 then out:insert(1, wrapped(('<div class="callout-header">%s<div class="callout-title-container">'):format(drawn), title, '</div></div>'))
  elseif icon then out:insert(1, block(drawn)) end
  local attributes = { { 'role', 'note' }, #title == 0 and { 'aria-label', CALLOUTS[kind] } or nil }
  return pandoc.Blocks { pandoc.Div(out, pandoc.Attr(d.identifier, class, attributes)) }
end

local tabsets = 0
local function tabset(d)
  allow(d, 'class', { 'panel-tabset', table.unpack(COLUMNS) }, { 'group' })
  local first, tabs = d.content[1], {}
  if not first or first.t ~= 'Header' then refuse('a tabset starts with a heading', 'Give each tab a heading', 'panel-tabset') end
  for _, b in ipairs(d.content) do
    if b.t == 'Header' and b.level == first.level then tabs[#tabs + 1] = { title = b.content:walk(inlines), body = pandoc.Blocks {} }
    else tabs[#tabs].body:insert(b) end
  end
  tabsets = tabsets + 1
  local buttons, panels, paper = pandoc.Blocks { block '<ul class="nav nav-tabs" role="tablist">' }, pandoc.Blocks {}, pandoc.Blocks {}
  for count, tab in ipairs(tabs) do
    local id, active = ('tabset-%d-%d'):format(tabsets, count), count == 1
    local body = lower(tab.body)
    paper:extend(call('tab', 'title', tab.title, body))
    local link = '<li class="nav-item" role="presentation"><a class="nav-link%s" id="%s-tab" href="#%s" role="tab" aria-controls="%s" aria-selected="%s">'
    buttons:insert(wrapped(link:format(active and ' active' or '', id, id, id, tostring(active)), tab.title, '</a></li>'))
    -- The title is shown above the panel on paper and where no script runs.
    local attributes = { { 'role', 'tabpanel' }, { 'aria-labelledby', id .. '-tab' }, { 'data-title', stringify(tab.title) } }
    panels:insert(pandoc.Div(body, pandoc.Attr(id, active and { 'tab-pane', 'active' } or { 'tab-pane' }, attributes)))
  end
  if not html then return paper end
  buttons:insert(block '</ul>')
  buttons:insert(pandoc.Div(panels, { class = 'tab-content' }))
  return pandoc.Blocks { pandoc.Div(buttons, pandoc.Attr(d.identifier, d.classes, d.attributes)) }
end

local DIV = { 'layout-ncol', 'fig-cap', 'tbl-cap', 'execution_count' }

local function no_stray_caption(d, kind)
  for _, key in ipairs { 'fig', 'tbl' } do
    local caption = d.attributes[key .. '-cap']
    if caption and kind ~= key then unlabelled('the cell with the caption', pandoc.Inlines(caption)) end
  end
end

local function executed(d) -- an executed cell: its code stands before its output, never inside a float
  local kind, code, rest = kind_of(d.identifier), pandoc.Blocks {}, pandoc.Blocks {}
  allow(d, 'cell class', { 'cell', table.unpack(COLUMNS) }, DIV, true)
  no_stray_caption(d, kind)
  for _, b in ipairs(d.content) do (b.t == 'CodeBlock' and b.classes:includes 'cell-code' and code or rest):insert(b) end
  local wide = d.classes:filter(function(c) return c:match '^column' ~= nil end)
  local out = lower(code)
  if kind then out:extend(labelled(d, kind, rest, wide))
  elseif #rest > 0 then
    local shown = columns(d, rest)
    if #wide > 0 and html then out:insert(pandoc.Div(shown, pandoc.Attr('', wide))) else out:extend(shown) end
  end
  if not html then return out end
  local class = d.classes:filter(function(c) return c:match '^column' == nil end)
  return { pandoc.Div(out, pandoc.Attr(kind and '' or d.identifier, class)) }
end

-- Blocks

local function items(list)
  for i, item in ipairs(list.content) do list.content[i] = lower(item) end
  return { list }
end
local function text(b)
  if not html and only_images(b) then
    local images = b.content:filter(function(e) return e.t == 'Image' end)
    return images:map(function(i) return block(placed('picture', i)) end)
  end
  b.content = b.content:walk(inlines)
  return #b.content > 0 and { b } or {}
end

local function only_pictures(t) -- beside its first column
  for _, row in ipairs(t.bodies[1] and t.bodies[1].body or {}) do
    for i, cell in ipairs(row.cells) do
      local first = cell.contents[1]
      if i > 1 and first and not (first.content and first.content[1] and first.content[1].t == 'Image') then return false end
    end
  end
  return #t.colspecs > 1
end

local blocks = {
  Para = text,
  Plain = text,
  HorizontalRule = function(b) return { b } end,
  LineBlock = function(b) return { b:walk(inlines) } end,
  BlockQuote = function(b) b.content = lower(b.content) return { b } end,
  BulletList = items,
  OrderedList = items,
  DefinitionList = function(b)
    for _, item in ipairs(b.content) do
      item[1] = item[1]:walk(inlines)
      for i, definition in ipairs(item[2]) do item[2][i] = lower(definition) end
    end
    return { pandoc.DefinitionList(b.content) }
  end,
  RawBlock = function(b) local new = raw(b) return new.t and { new } or {} end,
  Header = function(h)
    heading = stringify(h.content)
    allow(h, 'heading class', { 'unnumbered', 'unlisted' }, {})
    check_id(h.identifier)
    local number, level = nil, math.max(h.level - 1, 1)
    if env.numbered and not h.classes:includes 'unnumbered' then
      for upper = 1, level do sections[upper] = sections[upper] or 0 end
      for deeper = #sections, level + 1, -1 do sections[deeper] = nil end
      sections[level] = sections[level] + 1
      number = NUMBER .. '.' .. table.concat(sections, '.')
    end
    if h.identifier:match '^sec%-' then define(h.identifier, 'Section', number or '') end
    if number and h.level > env.depth then number = nil end
    h.content = h.content:walk(inlines)
    if html then
      if number then
        h.content:insert(1, pandoc.Space())
        h.content:insert(1, pandoc.Span({ pandoc.Str(number) }, { class = 'header-section-number' }))
      end
      return { h }
    end
    return { wrapped(('#heading(level: %d, %s)['):format(h.level, numbering(number)), h.content, '] ' .. label(env.index, h.identifier)) }
  end,
  CodeBlock = function(c)
    c.text = verbatim(c.text)
    if (c.classes[1] or ''):match '^{' then refuse(('the cell %s was not executed'):format(c.classes[1]), 'Run `vitrine freeze`; included files cannot have cells', c.classes[1]) end
    local of_cell, fold, summary = c.classes:includes 'cell-code', c.attributes['code-fold'], c.attributes['code-summary']
    c.classes = c.classes:filter(function(class) return class ~= 'cell-code' end)
    allow(c, 'code block class', { c.classes[1] }, of_cell and { 'code-fold', 'code-summary' } or {})
    c.attributes = {}
    if not html then c.identifier = '' return { c } end
    if not of_cell then return { c } end
    fold = fold or env.code_fold
    if fold == 'false' or fold == 'none' then return { c } end
    if fold ~= 'true' and fold ~= 'show' then refuse(('code-fold cannot be %q'):format(fold), 'Write true, false or show', 'code-fold') end
    local opening = ('<details class="code-fold"%s><summary>%s</summary>'):format(fold == 'show' and ' open' or '', escape(summary or env.code_summary))
    return { block(opening), c, block '</details>' }
  end,
  Table = function(t)
    local caption, id, empty = caption_inlines(t), t.identifier, true
    t:walk(simple 'table')
    local shown = describe(pandoc.Blocks { t }, caption):walk(inlines)[1]
    for _, row in ipairs(shown.head.rows) do
      for _, c in ipairs(row.cells) do
        if #c.contents > 0 then empty = false end
        if html then c.attributes.scope = 'col' end -- header cells head a column
      end
    end
    if empty then shown.head = pandoc.TableHead() end
    local arranges = empty or only_pictures(t)
    local specs = shown.colspecs
    if html then -- a browser fits columns better than the lengths of dashes do
      for i, spec in ipairs(specs) do specs[i] = { spec[1], nil } end
    end
    shown.colspecs, shown.caption, shown.identifier = specs, { long = {} }, ''
    shown = pandoc.Blocks { shown }
    if arranges and not html then shown = enclosed('#without-rules[', shown, ']') end -- it only arranges
    check_id(id)
    if kind_of(id) then
      local around = pandoc.Div({}, { id = id })
      return float(around, kind_of(id), { pandoc.Div(shown, { class = '=lowered' }) }, caption, {})
    end
    if #caption > 0 then unlabelled('the table', caption) end
    if id ~= '' then shown[1].identifier = html and id or '' end
    return shown
  end,
  Figure = function(f)
    local caption, kind = caption_inlines(f), kind_of(f.identifier)
    check_id(f.identifier)
    if kind then return float(f, kind, f.content, caption, {}) end
    unlabelled('the image with the caption', caption)
  end,
  Div = function(d)
    if d.classes[1] == '=lowered' then return d.content end
    check_id(d.identifier)
    for _, class in ipairs(d.classes) do
      local kind = class:match '^callout%-?(.*)$'
      if kind then return callout(d, kind) end
    end
    if d.classes:includes 'panel-tabset' then return tabset(d) end
    local outside, kind = cell, kind_of(d.identifier)
    cell = d.identifier:gsub('^cell%-', '')
    if cell == '' or not (d.classes:includes 'cell' or d.classes:includes 'cell-output') then cell = outside end
    local out
    if d.classes:includes 'cell' then out = executed(d)
    else
      local known = pandoc.List { table.unpack(COLUMNS) }
      known:extend(PARTS)
      if d.identifier == 'refs' then known:insert 'references' end
      allow(d, 'class', known, DIV, true)
      no_stray_caption(d, kind)
      if table.concat(d.classes, ' '):match 'vitrine%-' then -- the caption of our components is that of the float
        d.content = d.content:walk { Figure = function(f) if f.identifier == '' then return f.content end end }
      end
      local id = d.identifier
      if kind then out = labelled(d, kind, d.content, d.classes:filter(function(c) return not pandoc.List(PARTS):includes(c) end))
      else out = columns(d, d.content) end
      if not kind and (html or id == 'refs') and (id ~= '' or #d.classes > 0) then out = { pandoc.Div(out, pandoc.Attr(id, d.classes)) }
      elseif not kind and not html and id ~= '' then out:insert(1, block(anchor(id))) end
    end
    cell = outside
    return out
  end,
}

function lower(list)
  local out = pandoc.Blocks {}
  for _, b in ipairs(list) do out:extend(blocks[b.t](b)) end
  return out
end

-- What a figure amid text may do in the PDF: leave its place to fill pages. Tables and grids of
-- images can be broken and stay; so does a figure in a section without text, whose heading
-- would be left alone.
local function find_moving(list)
  local found, words = {}, false
  local function close()
    for _, id in ipairs(words and found or {}) do moving[id] = true end
    found, words = {}, false
  end
  for _, b in ipairs(list) do
    if b.t == 'Header' or b.t == 'HorizontalRule' then close() else
      local here, floats, tables = {}, false, false
      local function note(e)
        local kind = kind_of(e.identifier)
        floats = floats or kind ~= nil
        if kind == 'fig' then here[#here + 1] = e.identifier end
      end
      pandoc.Blocks({ b }):walk { Div = note, Figure = note, Table = function(t) tables = true note(t) end }
      if not floats then words = true
      elseif not tables then for _, id in ipairs(here) do found[#found + 1] = id end end
    end
  end
  close()
end

-- One entry a section, and one a figure or table: its title, its anchor and its words; code, raw markup, notes and citations are
-- left out.
local function search_entries(list, description)
  local entries = { { section = '', anchor = '', text = description } }
  local out = {}
  local function say(text) out[#out + 1] = text end
  local function close() -- what was collected belongs to the last section
    local entry = entries[#entries]
    entry.text = (entry.text .. ' ' .. table.concat(out)):gsub('%s+', ' '):match '^ ?(.-) ?$'
    out = {}
  end
  local function nothing() return nil, false end
  local function unnumbered(s) if s.classes[1] == 'caption-number' or s.classes[1] == 'header-section-number' then return {} end end
  pandoc.Blocks(list):walk({ Span = unnumbered }):walk {
    traverse = 'topdown',
    Header = function(h)
      close()
      entries[#entries + 1] = { section = stringify(h.content):match '^%s*(.*)$', anchor = h.identifier, text = '' }
      return nil, false
    end,
    CodeBlock = nothing, RawBlock = nothing, RawInline = nothing, Note = nothing, Cite = nothing,
    Image = nothing,
    Str = function(s) say(s.text) end,
    Code = function(c) say(c.text) end,
    Math = function(m) say(m.text) end,
    Inline = function(i) if i.t == 'Space' or i.t == 'SoftBreak' or i.t == 'LineBreak' then say ' ' end end,
    Block = function() say ' ' end,
  }
  close()
  for _, entry in ipairs(floats) do entries[#entries + 1] = entry end -- a figure is found by its number
  return entries
end

local function title_of(doc) -- the title, its identifier, and whether the chapter has a number
  if not next(env.pages) then -- a chapter alone: its title is judged with the book
    doc.blocks = doc.blocks:filter(function(b) return b.t ~= 'Header' or b.level > 1 end)
    return pandoc.Inlines {}, '', true
  end
  local title, found = doc.meta.title, nil
  local rest = pandoc.Blocks {}
  for _, b in ipairs(doc.blocks) do
    if b.t ~= 'Header' or b.level > 1 then rest:insert(b)
    elseif title or found then
      refuse(('the chapter has a second title, %q'):format(stringify(b.content)), 'Keep one title a chapter: in its front matter, or as its only `# ` heading', '# ' .. stringify(b.content), '# ' .. stringify(b.content):match '%S*')
    else found = b end
  end
  if title and stringify(title):match '%{[^{}]*%}%s*$' then refuse('a title in the front matter cannot have attributes (Quarto shows them as text)', 'Write the title as a `# Title {…}` heading instead', 'title:') end
  if not title and not found then refuse('the chapter has no title', 'Give it a title in its front matter, or a `# ` heading') end
  doc.blocks = rest
  if not found then return pandoc.utils.blocks_to_inlines { pandoc.Plain(title) }, '', true end
  allow(found, 'heading class', { 'unnumbered', 'unlisted' }, {})
  return found.content, found.identifier, not found.classes:includes 'unnumbered'
end

-- The first run: one chapter.
local function chapter(doc)
  local title, id, numbered = title_of(doc)
  if next(env.pages) and env.index == 0 and numbered then refuse('the home page would be chapter 1 under Quarto', 'Write its title as a `# Title {.unnumbered}` heading, not in the front matter', 'title:', '# ') end
  env.numbered = env.numbers and numbered
  if id:match '^sec%-' then define(id, 'Chapter', env.numbered and NUMBER or '') end
  local meta = { title = title:walk(inlines), label = id, numbered = env.numbered, plain = stringify(title) }
  for _, key in ipairs { 'subtitle', 'description' } do
    if doc.meta[key] then meta[key] = pandoc.utils.blocks_to_inlines(lower { pandoc.Plain(doc.meta[key]) }) end
  end
  local abstract = doc.meta.abstract
  if abstract then meta.abstract = lower(pandoc.utils.type(abstract) == 'Blocks' and abstract or { pandoc.Para(abstract) }) end
  meta.link = meta.title:walk { Note = function() return {} end, Link = function(l) return l.content end, Span = function(s) s.identifier = '' return s end }
  local about = meta.description and stringify(meta.description) or ''
  if about ~= '' then meta.about = about end
  find_moving(doc.blocks)
  doc.blocks = lower(doc.blocks)
  meta.labels, meta.entries = pandoc.json.encode(labels), pandoc.json.encode(search_entries(doc.blocks, about))
  if not html then
    local head = pandoc.Blocks { block('// vitrine chapter ' .. env.name), wrapped(('#heading(level: 1, %s)['):format(numbering(env.numbered and NUMBER)), meta.title, '] ' .. label(env.index, '')) }
    if id ~= '' then head:insert(block(anchor(id))) end
    if meta.subtitle then head:insert(wrapped('#chapter-subtitle[', meta.subtitle, ']')) end
    if meta.abstract then head:extend(enclosed('#abstract[', meta.abstract, ']')) end
    doc.blocks = head .. doc.blocks
  end
  local cited = false
  pandoc.Blocks(doc.blocks):walk { Cite = function(c) cited = cited or not kind_of(c.citations[1].id:lower()) and not c.citations[1].id:match '^[Ss]ec%-' end }
  meta.cited = cited
  doc.meta = meta
  return doc
end

-- The second run: references, now that every label is known.
local function reference(cite)
  local out, found = pandoc.Inlines {}, 0
  for _, c in ipairs(cite.citations) do if c.id:match '^[FfTtSs]%a%a%-.' and NAMES[c.id:sub(1, 3):lower()] or c.id:match '^[Ss]ec%-.' then found = found + 1 end end
  if found == 0 then
    for _, c in ipairs(cite.citations) do
      if NO_LABEL[c.id:match '^(%a+)%-.' or ''] and not env.keys[c.id] then refuse(('references like @%s are not supported'):format(c.id), 'Refer to figures (fig-), tables (tbl-) and sections (sec-)', '@' .. c.id) end
      if not env.keys[c.id] then refuse(('the citation key %s is not in the bibliography'):format(c.id), 'Correct it, add the entry, or write `\\@` for a plain @', '@' .. c.id) end
    end
    return nil
  end
  if found < #cite.citations then refuse('a bracket mixes references and citations', 'Write them in brackets of their own', '@' .. cite.citations[1].id) end
  for position, c in ipairs(cite.citations) do
    local id = c.id:gsub('^%u', string.lower)
    local target = env.labels[id]
    if not target then refuse(('the reference @%s leads nowhere'):format(c.id), 'Correct it, or give the figure, table or section this label', '@' .. c.id) end
    if target.number == '' then refuse(('@%s refers to a section without a number'):format(c.id), ('Write a link, [its title](#%s), or number the section'):format(id), '@' .. c.id) end
    if #c.suffix > 0 then refuse(('the text after @%s in its bracket would be lost under Quarto'):format(c.id), 'Close the bracket before it: [Figures @fig-a] and [-@fig-b]', '@' .. c.id) end
    local words = pandoc.Inlines {}
    if #c.prefix > 0 then words:extend(c.prefix) elseif c.mode ~= 'SuppressAuthor' then words:insert(pandoc.Str(target.name)) end
    words:insert(pandoc.Str((#words > 0 and NBSP or '') .. target.number))
    if position > 1 then out:extend { pandoc.Str ',', pandoc.Space() } end
    if html then
      local page = target.page ~= env.page and pandoc.path.make_relative(target.page, pandoc.path.directory(env.page), true) or ''
      out:insert(pandoc.Link(words, page .. '#' .. id, '', { class = 'quarto-xref' }))
    else out:extend(wrapped(('#link(%s)['):format(label(target.index, id)), words, ']').content) end
  end
  return out
end

function Pandoc(doc)
  if not env.labels then return chapter(doc) end
  doc = doc:walk { Cite = reference }
  -- A chapter's references stand where it asks for them, else at its end; the PDF has one list.
  local places = doc.blocks:filter(function(b) return b.identifier == 'refs' end)
  if env.cited and #places == 0 then
    local id = html and 'references' or ''
    doc.blocks:insert(html and pandoc.Header(2, 'References', { id = id, class = 'unnumbered' }) or block '#heading(level: 1, numbering: none)[References] <references>')
    local list = pandoc.Div({}, { id = 'refs', class = 'references' })
    doc.blocks:extend(html and { list } or enclosed('#smaller[', { list }, ']'))
  end
  for i = 1, #places - 1 do doc.blocks = doc.blocks:filter(function(b) return b ~= places[i] end) end
  return doc
end
