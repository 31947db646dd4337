local routes = require 'gateway.routes'

describe('routes', function()
  before_each(function() routes.start { 'chat/completions', 'messages', 'ollama' } end)

  it('knows what there is, and in whose form it answers', function()
    for path, shape in pairs {
      ['/v1/chat/completions'] = 'openai', ['/v1/messages/count_tokens'] = 'anthropic', ['/api/chat'] = 'ollama',
      ['/v1/models'] = 'openai', ['/'] = 'ollama',
    } do
      local route, _, is_missing = routes.find(path)
      assert.equal(shape, route.shape, path)
      assert.is_falsy(is_missing)
      assert.equal(path, route.path)
    end
  end)

  it('gives the name of a model that follows its address', function()
    local route, name = routes.find '/v1/models/org/model:7b'
    assert.same({ 'model', 'org/model:7b' }, { route.kind, name })
    assert.is_nil(routes.find '/v1/models/')
  end)

  it('says of the others that they are not allowed, or that they do not exist', function()
    local route, _, is_missing = routes.find '/v1/embeddings'
    assert.is_truthy(route)
    assert.is_true(is_missing)
    for _, path in ipairs { '/v1/chat/completions/', '/V1/models', '/re_isq', '/v1/files', '/metrics', '/api/blobs', '', '/v1' } do
      assert.is_nil(routes.find(path), path)
    end
    routes.start { 'completions' }
    assert.is_nil(routes.find '/api/chat')
    assert.is_nil(routes.find '/')
  end)

  it('tells an error in the form that the address hints at', function()
    assert.same({ 'ollama', 'anthropic', 'openai' },
      { routes.shape_of '/api/x', routes.shape_of '/v1/messages/x', routes.shape_of '/x' })
  end)

  it('allows HEAD where it allows GET', function()
    assert.equal('GET, HEAD', routes.methods(routes.find '/v1/models'))
    assert.equal('POST', routes.methods(routes.find '/v1/messages'))
  end)
end)
