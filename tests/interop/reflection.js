// A client that knows nothing but the address: services, messages and calls all come from server reflection.
// Usage: reflection.js ADDRESS; the gallery "node" of client.js is there.
'use strict';
const assert = require('node:assert');
const grpc = require('@grpc/grpc-js');
const { GrpcReflection } = require('grpc-js-reflection-client');
const { call, f32le, rows, run } = require('./checks.js');

const address = process.argv[2];
const credentials = grpc.credentials.createInsecure();
const services = ['grpc.health.v1.Health', 'indexd.v1.Backups', 'indexd.v1.Expungement', 'indexd.v1.Galleries',
    'indexd.v1.Holds', 'indexd.v1.Records', 'indexd.v1.Search'];

const checks = {};
for (const version of ['v1', 'v1alpha']) {
    const reflection = new GrpcReflection(address, credentials, {}, version);
    const service = async (name) => {
        const descriptor = await reflection.getDescriptorBySymbol(`indexd.v1.${name}`);
        const api = descriptor.getPackageObject({ keepCase: true, longs: Number, enums: String, defaults: true });
        return new api.indexd.v1[name](address, credentials);
    };
    checks[`${version}: services are listed`] = async () => {
        const listed = await reflection.listServices();
        services.forEach((s) => assert(listed.includes(s), `${s} is not among ${listed}`));
    };
    checks[`${version}: methods are listed`] = async () => {
        const methods = (await reflection.listMethods('indexd.v1.Search')).map((m) => m.name);
        assert.deepStrictEqual(methods.sort(), ['BatchSearch', 'Search', 'StreamSearch']);
    };
    checks[`${version}: a client built from it searches`] = async () => {
        const gallery = await call(await service('Galleries'), 'Get', { name: 'node' });
        const probe = { f32le: f32le(rows(1, gallery.dim)[0]), embedder: gallery.embedder };
        const reply = await call(await service('Search'), 'Search',
            { gallery: 'node', probe, options: { k: 5, exact: true } });
        assert.strictEqual(reply.candidates.length, 5);
        assert.strictEqual(reply.candidates[0].record_id, 'js-0000');
        assert(Math.abs(reply.candidates[0].cosine - 1) < 1e-6);
    };
    checks[`${version}: a file is found by its name`] = async () => {
        const descriptor = await reflection.getDescriptorByFileName('indexd/v1/records.proto');
        assert(descriptor.getPackageObject().indexd.v1.Records !== undefined);
    };
}
run('reflection', checks);
