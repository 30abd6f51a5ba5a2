-- Leaves out of a chapter what needs a part that the shown study does not have.
--
-- A heading, with its section, a div or a span says what it needs: needs="lime.stability", several
-- with spaces between them, and one of several as "cam/lime". The line at the head of the chapter
-- (vitrine.report.parts.without) names the parts that are missing, in a div of class
-- vitrine-without. Quarto and the bundled renderer run this before anything else.

local missing = {}

local function lacks(element)
  for need in (element.attributes.needs or ''):gmatch '%S+' do
    local some = false
    for part in need:gmatch '[^/]+' do some = some or not missing[part] end
    if not some then return true end
  end
  return false
end

local function kept(list)
  local out, level = pandoc.Blocks {}, nil -- of the heading whose section is left out
  for _, b in ipairs(list) do
    if b.t == 'Header' and (not level or b.level <= level) then
      level = lacks(b) and b.level or nil
      b.attributes.needs = nil
    end
    if not level then
      if b.t == 'Div' and b.attributes.needs then
        if not lacks(b) then out:extend(b.content) end
      else
        out:insert(b)
      end
    end
  end
  return out
end

local function words(span)
  if not span.attributes.needs then return nil end
  return lacks(span) and {} or span.content
end

function Pandoc(doc)
  doc.blocks = doc.blocks:walk {
    Div = function(d)
      if not d.classes:includes 'vitrine-without' then return nil end
      for part in (d.attributes.parts or ''):gmatch '%S+' do missing[part] = true end
      d.classes = d.classes:filter(function(class) return class ~= 'vitrine-without' end)
      d.attributes.parts = nil
      return #d.content > 0 and d or {}
    end,
  }
  doc.blocks = kept(doc.blocks:walk { Blocks = kept, Span = words })
  return doc
end
