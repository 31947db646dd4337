local json = require 'gateway.json'
local models = require 'gateway.models'

local PLAN = {
  default_model = 'tiny', context_length = 4096, ollama_version = '0.12.3', models = {
    {id = 'tiny', names = {'Tiny-1B.Q4_K_M.gguf', 'tiny:1b'}, digest = 'sha256:' .. ('ab'):rep(32), size = 5368709120, quantization = 'Q4_K_M',
      family = 'llama', modified = '2026-11-26T23:44:36Z', parameters = '1.1B'},
    {id = 'embedder', names = {'tiny'}, kind = 'embedding', context_length = 512, embedding_length = 768},
    {id = 'seer', images = true, thinking = true, tools = false, created = 1700000000},
  },
}
local INDEX = models.index(PLAN)

describe('models', function()
  it('are found by any of their names', function()
    for _, name in ipairs {'tiny', 'tiny:1b', 'TINY:1B', 'Tiny-1B.Q4_K_M.gguf', 'tiny-1b.q4_k_m', 'tiny:latest', 'tiny.gguf', '', 'default', 'default:latest'} do
      assert.equal('tiny', models.find(INDEX, name).id)
    end
    assert.is_nil(models.find(INDEX, 'tin'))
    assert.is_nil(models.find(INDEX, '__index'))
  end)

  it('are those that a key may use', function()
    assert.is_nil(models.find(INDEX, 'tiny', {seer = true}))
    assert.equal('seer', models.find(INDEX, 'default', {seer = true}).id)
    assert.equal('tiny', models.find(INDEX, 'tiny', {['tiny:1b'] = true}).id)
    assert.is_nil(models.find(INDEX, 'default', {}))
    local allowed = {seer = true}
    assert.equal(1, #json.decode(models.list(INDEX, allowed)).data)
    assert.equal(1, #json.decode(models.tags(INDEX, allowed)).models)
    assert.equal(3, #json.decode(models.list(INDEX)).data)
    assert.equal(0, #json.decode(models.list(INDEX, {})).data)
    assert.is_nil(models.one(INDEX, 'tiny', allowed))
    assert.is_nil(models.show(INDEX, 'tiny', allowed))
    assert.equal('The model "x" does not exist, or this key may not use it. Available: seer.', models.missing(INDEX, 'x', allowed).message)
  end)

  it('are listed as OpenAI and Anthropic list them', function()
    local list = json.decode(models.list(INDEX))
    assert.equal('list', list.object)
    local one = list.data[1]
    assert.equal(1795736676, one.created)
    assert.same({'Tiny-1B.Q4_K_M.gguf', 'tiny:1b'}, {unpack(one.aliases)})
    assert.equal('model', one.object)
    assert.equal('model', one.type)
    assert.equal('2026-11-26T23:44:36Z', one.created_at)
    assert.same(one, json.decode(models.one(INDEX, 'tiny:1b')))
    assert.equal('2023-11-14T22:13:20Z', list.data[3].created_at)
  end)

  it('are listed as Ollama lists them', function()
    local tag = json.decode(models.tags(INDEX)).models[1]
    assert.equal('tiny:latest', tag.name)
    assert.equal('tiny:latest', tag.model)
    assert.equal(5368709120, tag.size)
    assert.equal(('ab'):rep(32), tag.digest)
    assert.equal('Q4_K_M', tag.details.quantization_level)
    assert.same({'completion', 'tools'}, {unpack(tag.capabilities)})
    local ps = json.decode(models.ps(INDEX)).models
    assert.equal(tag.size, ps[1].size_vram)
    assert.equal(512, ps[2].context_length)
    -- The program `ollama` ends with a shorter one.
    assert.is_true(#ps[2].digest >= 12)
    local show = json.decode(models.show(INDEX, 'tiny:latest'))
    assert.equal(4096, show.model_info['llama.context_length'])
    assert.equal('llama', show.model_info['general.architecture'])
    assert.is_truthy(show.template:find 'Tools')
    assert.equal(768, json.decode(models.show(INDEX, 'embedder')).model_info['unknown.embedding_length'])
    assert.same({'completion', 'vision', 'thinking'}, {unpack(json.decode(models.show(INDEX, 'seer')).capabilities)})
    assert.equal('{"version":"0.12.3"}\n', models.version(PLAN))
    assert.matches('^{"version":"%d+%.%d+%.%d+"}\n$', models.version {ollama_version = 'a"b'})
  end)
end)
