export * from './faulty-proxy.ts';
export * from './layer-applier.ts';
export * from './place.ts';
export * from './registry-server.ts';
export * from './token-server.ts';
