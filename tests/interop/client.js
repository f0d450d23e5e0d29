// grpc-js and proto-loader: HTTP/2 and protobuf of their own, the schemas read at run time.
// Usage: client.js ADDRESS SCHEMAS
'use strict';
const assert = require('node:assert');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');
const { call, cosine, f32le, refused, rows: makeRows, run, status } = require('./checks.js');

const [address, schemas] = process.argv.slice(2);
const DIM = 40;
const ROWS = 200;
const embedder = { id: 'net-b', version: '' };
const files = ['indexd/v1/search.proto', 'indexd/v1/records.proto', 'indexd/v1/galleries.proto',
    'indexd/v1/expungement.proto', 'grpc/health/v1/health.proto'];
const api = grpc.loadPackageDefinition(loader.loadSync(files,
    { includeDirs: [schemas], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true }));
const rpc = new protobuf.Root().loadSync(`${schemas}/google/rpc/status.proto`, { keepCase: true });
const Status = rpc.lookupType('google.rpc.Status');
const ErrorInfo = rpc.lookupType('google.rpc.ErrorInfo');
const credentials = grpc.credentials.createInsecure();
const galleries = new api.indexd.v1.Galleries(address, credentials);
const records = new api.indexd.v1.Records(address, credentials);
const search = new api.indexd.v1.Search(address, credentials);
const expungement = new api.indexd.v1.Expungement(address, credentials);
const health = new api.grpc.health.v1.Health(address, credentials);

const rows = makeRows(ROWS, DIM);
const id = (i) => `js-${String(i).padStart(4, '0')}`;
const record = (i) => ({
    record: { record_id: id(i), subject_id: `s${i}`, arrest_id: `a${Math.floor(i / 2)}`,
        attributes: [{ key: 'county', value: i % 2 ? 'Zürich' : 'Uri' }] },
    embedding: i % 2 ? { f32le: f32le(rows[i]) } : { values: rows[i] },
});
const insertion = (first, n) => ({
    gallery: 'node', embedder, records: Array.from({ length: n }, (_, i) => record(first + i)),
});
const probe = (i, options) => ({ gallery: 'node', probe: { f32le: f32le(rows[i]), embedder }, options });

// A call with streams both ways: sends all, gives what came back, or the error.
const exchange = (client, method, messages) => new Promise((resolve, reject) => {
    const stream = client[method]();
    const received = [];
    stream.on('data', (message) => received.push(message));
    stream.on('error', reject);
    stream.on('end', () => resolve(received));
    messages.forEach((m) => stream.write(m));
    stream.end();
});

run('node', {
    'create': async () => {
        const made = await call(galleries, 'Create', { name: 'node', dim: DIM, embedder, engine: 'flat' });
        assert.strictEqual(made.dim, DIM);
        await refused(call(galleries, 'Create', { name: 'node', dim: DIM, embedder: { id: 'other' } }),
            status.ALREADY_EXISTS, 'EXISTS', Status, ErrorInfo);
    },
    'insert': async () => {
        const reply = await call(records, 'Insert', insertion(0, 100));
        assert.strictEqual(reply.enrolled, 100);
        assert.strictEqual((await call(records, 'Insert', insertion(0, 100))).unchanged, 100);
    },
    'insert stream': async () => {
        const acks = await exchange(records, 'InsertStream',
            Array.from({ length: 20 }, (_, i) => insertion(100 + 5 * i, 5)));
        assert.strictEqual(acks.at(-1).messages, 20);
        assert.strictEqual(acks.at(-1).enrolled, 100);
    },
    'search': async () => {
        const reply = await call(search, 'Search', probe(11, { k: 15 }));
        const best = rows.map((row, i) => [cosine(rows[11], row), i]).sort((a, b) => b[0] - a[0]).slice(0, 15);
        assert.deepStrictEqual(reply.candidates.map((c) => c.record_id), best.map(([, i]) => id(i)));
        reply.candidates.forEach((c, i) => assert(Math.abs(c.cosine - best[i][0]) < 1e-6));
        assert(reply.stats.exhaustive);
        assert.match(reply.notice, /trained human/);
    },
    'search with a filter': async () => {
        const filter = { attributes: [{ key: 'county', value: 'Zürich' }] };
        const reply = await call(search, 'Search', probe(11, { k: 1000, filter }));
        assert.strictEqual(reply.candidates.length, ROWS / 2);
        reply.candidates.forEach((c) => assert.strictEqual(Number(c.record_id.slice(3)) % 2, 1));
    },
    'stream search': async () => {
        const answers = await exchange(search, 'StreamSearch',
            [3, 4, 5].map((i) => ({ tag: i, request: probe(i, { k: i === 4 ? 5000 : 1 }) })));
        assert.deepStrictEqual(answers.map((a) => a.tag), [3, 4, 5]);
        assert.strictEqual(answers[0].response.candidates[0].record_id, id(3));
        assert.strictEqual(answers[1].error.reason, 'INVALID');
        assert.strictEqual(answers[2].response.candidates[0].record_id, id(5));
    },
    'expunge': async () => {
        const reply = await call(expungement, 'Expunge',
            { gallery: 'node', kind: 'ID_KIND_ARREST', ids: ['a4'], order_ref: 'order 2', expected_count: 2 });
        assert.strictEqual(reply.records, 2);
        const after = await call(search, 'Search', probe(8, { k: 1000, read_after_epoch: reply.epoch }));
        assert.strictEqual(after.candidates.length, ROWS - 2);
        assert(after.candidates.every((c) => c.record_id !== id(8) && c.record_id !== id(9)));
        await refused(call(records, 'Insert', insertion(8, 1)), status.FAILED_PRECONDITION, 'EXPUNGED', Status, ErrorInfo);
        const ticket = await call(expungement, 'GetTicket', { ticket_id: reply.ticket.ticket_id });
        assert.strictEqual(ticket.order_ref, 'order 2');
        const states = await new Promise((resolve, reject) => {
            const received = [];
            const stream = expungement.WatchTicket({ ticket_id: reply.ticket.ticket_id });
            stream.on('data', (t) => received.push(t.state));
            stream.on('error', reject);
            stream.on('end', () => resolve(received));
        });
        assert.strictEqual(states[states.length - 1], 'TICKET_STATE_VERIFIED');
    },
    'refusals decode': async () => {
        await refused(call(search, 'Search', { ...probe(1, {}), gallery: 'nowhere' }), status.NOT_FOUND, 'NOT_FOUND',
            Status, ErrorInfo);
        await refused(call(search, 'Search', probe(1, { exact: true, tuning: { effort: 0.3 } })),
            status.INVALID_ARGUMENT, 'INVALID', Status, ErrorInfo);
        await refused(exchange(records, 'InsertStream', [insertion(0, 1), insertion(0, 0)]),
            status.INVALID_ARGUMENT, 'INVALID', Status, ErrorInfo);
    },
    'health': async () => {
        for (const service of ['', 'indexd.v1.Records', 'gallery/node'])
            assert.strictEqual((await call(health, 'Check', { service })).status, 'SERVING');
    },
});
