// What the Node clients share: promises of calls, decoding of refusals, and the run of the checks.
'use strict';
const assert = require('node:assert');
const grpc = require('@grpc/grpc-js');

// client.Method(request) as a promise.
exports.call = (client, method, request) =>
    new Promise((resolve, reject) =>
        client[method](request, { deadline: Date.now() + 30000 }, (error, reply) =>
            error ? reject(error) : resolve(reply)));

exports.f32le = (row) => {
    const bytes = Buffer.alloc(4 * row.length);
    row.forEach((x, i) => bytes.writeFloatLE(x, 4 * i));
    return bytes;
};

// Rows that are the same in every run.
exports.rows = (n, dim) => {
    let state = 20260101;
    const next = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) - 0.5;
    return Array.from({ length: n }, () => Array.from({ length: dim }, next));
};

exports.cosine = (a, b) => {
    const dot = (x, y) => x.reduce((sum, v, i) => sum + v * y[i], 0);
    return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

// The call is refused with this code, and its google.rpc details say why. Status is the type google.rpc.Status.
exports.refused = async (promise, code, reason, Status, ErrorInfo) => {
    const error = await promise.then(() => assert.fail('it was not refused'), (e) => e);
    assert.strictEqual(error.code, code, String(error));
    const [details] = error.metadata.get('grpc-status-details-bin');
    const status = Status.decode(details);
    assert.strictEqual(status.code, code);
    assert.strictEqual(status.message, error.details);
    assert.strictEqual(status.details[0].type_url, 'type.googleapis.com/google.rpc.ErrorInfo');
    const info = ErrorInfo.decode(status.details[0].value);
    assert.strictEqual(info.reason, reason);
    assert.strictEqual(info.domain, 'indexd');
};

exports.run = async (title, checks) => {
    for (const [name, check] of Object.entries(checks)) {
        try {
            await check();
            console.log(`ok ${title}: ${name}`);
        } catch (error) {
            console.log(`FAIL ${title}: ${name}: ${String(error).replace(/\s+/g, ' ').slice(0, 300)}`);
        }
    }
    console.log('done');
    process.exit(0);
};

exports.status = grpc.status;
