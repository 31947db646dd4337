// What Nginx itself cannot decide: whose key it is, which model is meant, what the engine may be asked, and how errors
// look. It runs in njs 0.7.9 and newer, so it keeps to that version's part of the language (no `for of`, no `?.`).
import crypto from 'crypto';
import keys from 'keys.js';
import plan from 'plan.js';

const INVALID = 'invalid_request_error';
const SERVER = 'server_error';

// status: [type, code, message]
const ERRORS = {
    400: [INVALID, 'bad_request', 'The request is not valid HTTP, or its headers are too large.'],
    401: [INVALID, 'invalid_api_key',
        'The API key is missing or wrong. Send it in the header: Authorization: Bearer YOUR_KEY.'],
    403: [INVALID, 'forbidden', 'This is not allowed here.'],
    404: [INVALID, 'unknown_url', 'There is nothing at this address. Available: POST /v1/chat/completions, '
        + 'POST /v1/completions, GET /v1/models, GET /health.'],
    405: [INVALID, 'method_not_allowed', 'This address does not accept this HTTP method.'],
    408: [INVALID, 'request_timeout', 'The request did not arrive in time.'],
    413: [INVALID, 'request_too_large', 'The request is larger than this endpoint accepts.'],
    414: [INVALID, 'request_too_large', 'The address of the request is too long.'],
    429: ['rate_limit_error', 'rate_limit_exceeded', 'This API key has asked too often. Wait a little and try again.'],
    500: [SERVER, 'internal_error', 'The gateway could not handle the request; its error log says why.'],
    502: [SERVER, 'engine_unavailable',
        'The model server does not answer: it is starting, loading a model, or stopped. Try again shortly.'],
    503: [SERVER, 'engine_loading', 'The model server is not ready yet. Try again shortly.'],
    504: [SERVER, 'engine_timeout', 'The model server took too long to answer.']
};

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

function shape(status, message, type, code, param) {
    const usual = ERRORS[status] || (status < 500 ? [INVALID, null, 'The request failed.'] : ERRORS[500]);
    return JSON.stringify({error: {
        message: message || usual[2],
        type: type || usual[0],
        param: param || null,
        code: code || usual[1]
    }}) + '\n';
}

function advise(r, status) {
    r.headersOut['Content-Type'] = 'application/json';
    if (status === 401) {
        r.headersOut['WWW-Authenticate'] = 'Bearer';
    } else if (status === 405) {
        r.headersOut.Allow = r.uri.indexOf('completions') < 0 ? 'GET, HEAD' : 'POST';
    } else if (status === 429 || status === 502 || status === 503) {
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

// Answers in Nginx's place when it refuses a request or cannot reach the engine.
function error(r) {
    const status = Number(r.variables.status);
    advise(r, status);
    r.return(status, shape(status, status === 400 && r.variables.scheme === 'http'
        ? 'This port speaks HTTPS only: use https:// in the address.' : ''));
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

    const address = fetched(body.messages);
    if (address) {
        return wrong('This endpoint fetches nothing from other addresses: send the content itself as a data: URL in '
            + address + '.', 'messages', 400, 'url_not_allowed');
    }
    return null;
}

function refuse(r, problem) {
    advise(r, problem.status);
    r.return(problem.status, shape(problem.status, problem.message, INVALID, problem.code, problem.param));
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
    r.variables.mistral_body = JSON.stringify(body);
    r.internalRedirect('@mistral_engine');
}

function health(r) {
    r.subrequest('/_mistral/health', {method: 'GET'}, (reply) => {
        const status = reply.status === 200 ? 200 : 503;
        advise(r, status);
        r.return(status, status === 200 ? '{"status": "ok"}\n' : shape(503, ERRORS[502][2], SERVER, 'engine_unavailable'));
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
    let message = text;
    try {
        const answer = JSON.parse(text);
        if (answer.error && typeof answer.error === 'object' && typeof answer.error.message === 'string') {
            return shape(status, answer.error.message, answer.error.type, answer.error.code, answer.error.param);
        }
        message = answer.message || answer.error || answer.detail || text;
    } catch (e) {
        // Not JSON: plain text is the message.
    }
    if (typeof message !== 'string') {
        message = JSON.stringify(message);
    }
    return shape(status, message.trim().slice(0, 2000), null, status < 500 ? 'engine_refused' : 'engine_error');
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

export default {client, error, completions, health, headers, answer};
