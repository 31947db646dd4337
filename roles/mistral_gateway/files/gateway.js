// What Nginx itself cannot decide: whose key it is, which model is meant, what the engine may be asked, and how errors
// look. It runs in njs 0.7.9 and newer, so it keeps to that version's part of the language (no `for of`, no `?.`).
import crypto from 'crypto';
import keys from 'keys.js';
import plan from 'plan.js';

const INVALID = 'invalid_request_error';
const SERVER = 'server_error';
const UNAVAILABLE = 'The model server does not answer: it is starting, loading a model, or stopped. Try again shortly.';

// What reaches the engine of a request's body. All else is left out, as the engine itself does with what it does not know.
const FIELDS = [
    'model', 'messages', 'prompt', 'stream', 'max_tokens', 'n', 'best_of', 'echo', 'suffix', 'stop', 'ignore_eos',
    'temperature', 'top_p', 'top_k', 'min_p', 'seed', 'logit_bias', 'logprobs', 'top_logprobs',
    'presence_penalty', 'frequency_penalty', 'repetition_penalty',
    'dry_multiplier', 'dry_base', 'dry_allowed_length', 'dry_sequence_breakers',
    'tools', 'tool_choice', 'parallel_tool_calls', 'functions', 'function_call', 'response_format', 'grammar',
    'enable_thinking', 'reasoning_effort', 'chat_template_kwargs', 'truncate_sequence', 'adapter',
    'stream_options', 'user', 'metadata', 'store', 'service_tier', 'modalities', 'prediction', 'verbosity'
];

// These make the engine search, fetch, run or keep something, or reach what other clients left there.
const REFUSED = [
    'web_search_options', 'enable_search', 'enable_code_execution', 'code_execution_permission', 'enable_shell',
    'shell_skill_references', 'agent_permission', 'session_id', 'files', 'max_tool_rounds'
];

const MODEL_OF = modelNames();

function modelNames() {
    const names = {};
    plan.models.forEach((model) => {
        [model.id].concat(model.aliases || []).forEach((name) => {
            if (!Object.prototype.hasOwnProperty.call(names, name)) {
                names[name] = model.id;
            }
        });
    });
    return names;
}

function shape(message, type, code, param) {
    return JSON.stringify({error: {message: message, type: type, param: param || null, code: code || null}}) + '\n';
}

function advise(r, status) {
    r.headersOut['Content-Type'] = 'application/json';
    if (status === 429 || status === 502 || status === 503) {
        r.headersOut['Retry-After'] = String(status === 429 ? plan.retry_after : 5);
    }
}

// The name of the client whose key this is, for Nginx's variable; empty without a valid key.
function client(r) {
    const match = /^Bearer +(\S+) *$/i.exec(r.headersIn.Authorization || '');
    if (!match) {
        return '';
    }
    // Comparing digests tells nothing about the key by the time that it takes.
    return keys[crypto.createHash('sha256').update(match[1]).digest('hex')] || '';
}

function missing(value) {
    return value === undefined || value === null;
}

function wrong(message, param, status, code) {
    return {status: status || 400, message: message, param: param, code: code || 'invalid_value'};
}

// The address that the engine would fetch by itself, if there is one in the messages: only data: is let through.
function fetched(value) {
    let found = '';
    if (Array.isArray(value)) {
        value.some((entry) => { found = fetched(entry); return found; });
    } else if (value !== null && typeof value === 'object') {
        Object.keys(value).some((name) => {
            const entry = value[name];
            if (typeof entry === 'string') {
                found = /(^|_)url$/i.test(name) && !/^data:/i.test(entry) ? name : '';
            } else {
                found = fetched(entry);
            }
            return found;
        });
    }
    return found;
}

// What of a content part makes the engine look into the files that it keeps, or keep one.
function kept(messages) {
    return Array.isArray(messages) && messages.some((message) =>
        message !== null && typeof message === 'object' && Array.isArray(message.content)
        && message.content.some((part) => part !== null && typeof part === 'object'
            && (part.type === 'file' || part.type === 'input_file' || !missing(part.file))));
}

function asks(value) {
    return !missing(value) && value !== false;
}

// What the request must not ask of the engine, or null.
function forbidden(body) {
    const name = REFUSED.find((field) => asks(body[field]));
    if (name) {
        return wrong('This endpoint generates text only, and does not search, fetch, run or keep anything: leave '
            + name + ' out.', name, 400, 'parameter_not_allowed');
    }
    if (!missing(body.tools) && (!Array.isArray(body.tools) || body.tools.some((tool) =>
        tool === null || typeof tool !== 'object' || tool.type !== 'function'))) {
        return wrong('tools must be a list of tools of the type function, which the client runs itself: this endpoint does '
            + 'not search, fetch or run anything.', 'tools', 400, 'tool_not_allowed');
    }
    if (kept(body.messages)) {
        return wrong('This endpoint keeps no files: send the content itself, as text or as a data: URL.', 'messages', 400,
            'file_not_allowed');
    }
    const address = fetched(body.messages);
    if (address) {
        return wrong('This endpoint fetches nothing from other addresses: send the content itself as a data: URL in '
            + address + '.', 'messages', 400, 'url_not_allowed');
    }
    return null;
}

// Brings the request into the form that the engine gets; returns what is wrong with it, or null.
function prepare(body) {
    if (body === null || typeof body !== 'object' || Array.isArray(body)) {
        return wrong('The body must be a JSON object.', null, 400, 'invalid_json');
    }

    if (missing(body.model) || body.model === '' || body.model === 'default') {
        body.model = plan.default_model;
    } else if (typeof body.model !== 'string') {
        return wrong('model must be a string.', 'model');
    } else if (Object.prototype.hasOwnProperty.call(MODEL_OF, body.model)) {
        body.model = MODEL_OF[body.model];
    } else {
        return wrong('The model ' + JSON.stringify(body.model.slice(0, 200)) + ' does not exist. Available: '
            + Object.keys(MODEL_OF).join(', ') + '.', 'model', 404, 'model_not_found');
    }

    // Both names mean the same, and not every engine version knows the newer one.
    if (!missing(body.max_completion_tokens)) {
        body.max_tokens = body.max_completion_tokens;
    }
    delete body.max_completion_tokens;

    Object.keys(plan.defaults || {}).forEach((name) => {
        if (missing(body[name])) {
            body[name] = plan.defaults[name];
        }
    });

    if (!missing(body.max_tokens)) {
        if (typeof body.max_tokens !== 'number' || !(body.max_tokens >= 1) || body.max_tokens % 1 !== 0) {
            return wrong('max_tokens must be a whole number of at least 1.', 'max_tokens');
        }
    }
    if (plan.max_tokens && (missing(body.max_tokens) || body.max_tokens > plan.max_tokens)) {
        body.max_tokens = plan.max_tokens;
    }

    // Each answer of one request is a sequence of its own, which such an engine computes together with the others.
    if (plan.one_at_a_time && !missing(body.n) && body.n !== 1) {
        return wrong('This engine mixes up answers that it computes at the same time: leave n out, and send a request for each answer.',
            'n', 400, 'unsupported_value');
    }

    return forbidden(body);
}

function refuse(r, problem) {
    advise(r, problem.status);
    r.return(problem.status, shape(problem.message, INVALID, problem.code, problem.param));
}

// Handles both completion endpoints: what was checked is what is sent, so the body is always written anew.
function completions(r) {
    let body;
    try {
        body = JSON.parse(r.requestText);
    } catch (e) {
        // The exception's text can quote the prompt, so it goes nowhere.
        refuse(r, wrong('The body is not valid JSON.', null, 400, 'invalid_json'));
        return;
    }

    const problem = prepare(body);
    if (problem) {
        refuse(r, problem);
        return;
    }
    const sent = {};
    FIELDS.forEach((name) => {
        if (Object.prototype.hasOwnProperty.call(body, name)) {
            sent[name] = body[name];
        }
    });
    r.variables.mistral_body = JSON.stringify(sent);
    r.internalRedirect('@mistral_engine');
}

function health(r) {
    r.subrequest('/_mistral/health', {method: 'GET'}, (reply) => {
        const status = reply.status === 200 ? 200 : 503;
        advise(r, status);
        r.return(status, status === 200 ? '{"status": "ok"}\n' : shape(UNAVAILABLE, SERVER, 'engine_unavailable'));
    });
}

function rewritten(r) {
    return r.status >= 400 || r.uri === '/v1/models';
}

// Called with the engine's headers.
function headers(r) {
    if (rewritten(r)) {
        delete r.headersOut['Content-Length'];
        advise(r, r.status);
    }
}

// The engine's error in the shape that OpenAI's clients read.
function engineError(status, text) {
    const type = status === 429 ? 'rate_limit_error' : status < 500 ? INVALID : SERVER;
    const code = status < 500 ? 'engine_refused' : 'engine_error';
    let message = text;
    try {
        const answer = JSON.parse(text);
        if (answer.error && typeof answer.error === 'object' && typeof answer.error.message === 'string') {
            return shape(answer.error.message, answer.error.type || type, answer.error.code || code, answer.error.param);
        }
        message = answer.message || answer.error || answer.detail || text;
    } catch (e) {
        // Not JSON: plain text is the message.
    }
    if (typeof message !== 'string') {
        message = JSON.stringify(message);
    }
    return shape(message.trim().slice(0, 2000) || 'The request failed.', type, code);
}

// The engine's list, without its entry `default` and with the other names that each model answers to.
function modelList(text) {
    let list;
    try {
        list = JSON.parse(text);
        list.data = list.data.filter((entry) => entry.id !== 'default');
    } catch (e) {
        return text;
    }
    list.data.forEach((entry) => {
        entry.aliases = Object.keys(MODEL_OF).filter((name) => MODEL_OF[name] === entry.id && name !== entry.id);
    });
    return JSON.stringify(list) + '\n';
}

// Called with each piece of the engine's answer.
function answer(r, data, flags) {
    if (!rewritten(r)) {
        // From here on the pieces go to the client as they come, without this function.
        r.sendBuffer(data, {last: flags.last, flush: true});
        r.done();
        return;
    }
    // Kept as hexadecimal digits, since a piece can end within a character.
    r.variables.mistral_answer += data.toString('hex');
    if (flags.last) {
        const text = Buffer.from(r.variables.mistral_answer, 'hex').toString();
        r.sendBuffer(r.status >= 400 ? engineError(r.status, text) : modelList(text), {last: true});
    }
}

export default {client, completions, health, headers, answer};
