/** Kept seeds: texts that once found a fault, or that lie near one. Each fuzzer mutates them. */
export const HEADS: readonly string[] = [
  'POST /v1/send HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}',
  'POST /v1/send HTTP/1.1\r\nhost: 127.0.0.1\r\nHost: evil.example.org\r\ncontent-length: 2\r\n\r\n{}',
  'POST http://evil.example.org/v1/send HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
  'GET /v1/socket HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  'OPTIONS /v1/send HTTP/1.1\r\nhost: localhost\r\norigin: null\r\n\r\n',
]

export const BODIES: readonly string[] = [
  '{"from":"conv_0123456789abcdef/a","key":"k","draft":{"text":"hello","files":["a.ts"]}}',
  '{"a":1,"a":2}',
  '{"a":1,"\\u0061":2}',
  '{"__proto__":{"a":1},"constructor":{"prototype":{}}}',
  '{"x":[{"a":{"b":1,"c":":"}}],"y":"\\"\\\\","z":-1.5e300}',
  '["\\ud83d\\ude00","\\ud800",null,true]',
]

export const FRAMES: readonly string[] = [
  '{"t":"join","session":"conv_0123456789abcdef/b","after":0,"nonce":"nnnnnnnnnnnnnnnn","proof":"cHJvb2Y="}',
  '{"t":"beat","n":1,"beats":[{"session":"conv_0123456789abcdef/b","host":"h","incarnation":"i","seq":1,"work":0}]}',
  '{"t":"mark","n":2,"session":"conv_0123456789abcdef/b","ids":[1,2],"mark":"acked"}',
  '{"t":"taken","session":"conv_0123456789abcdef/b","id":9}',
  '{"t":"leave","session":"conv_0123456789abcdef/b"}',
  '{"t":"__proto__"}',
]

export const PLAIN_CREDENTIALS: readonly string[] = [
  '{"conversation_id":"conv_00000000000000aa","worker_id":"s2-worker-3","worker_role":"tests","worker_token":"worker-token-for-a-test","created_at":"2025-12-31T23:00:00Z","expires_at":"2026-01-01T03:00:00Z","bridge_url":"https://bridge.example.org"}',
  '{"conversation_id":"conv_00000000000000aa","worker_id":3,"worker_role":"tests","worker_token":"worker-token-for-a-test","created_at":"2025-12-31T23:00:00.123456","expires_at":"9999-01-01T03:00:00+14:00","bridge_url":"http://127.0.0.1:7433/"}',
  '{"claudeAiOauth":{"refreshToken":"x"}}',
  '[]',
]

export const FLEETS: readonly string[] = [
  '{"workers":[{"number":1,"role":"a","exec":"true"},{"number":2,"role":"b"}]}',
  '{"bridge":{"listen":"127.0.0.1:7441"},"demo":"tasks.json","settings":{"S2_BEAT":"1s"},"workers":[{"number":1,"role":"w","exec":"cat","stdin":"text","folder":"x"}]}',
  '{"remote":"ssh://git@host/x.git","branch":"main","orchestrator":{"wake":"cat"},"workers":[{"number":7,"role":"r","wake":"cat","settings":{"S2_BEAT":"2s"}}]}',
]

export const TEXTS: readonly string[] = [
  'password: hunter2, api_key=abcdef0123456789abcdef, token count: 5',
  ['-----BEGIN', ' PRIVATE KEY-----\nMIIB\n-----END', ' PRIVATE KEY-----\n'].join(''),
  'postgres://u:p4ssw0rd@db/x Authorization: Bearer abcdefghijklmnopqrstuvwxyz012345',
  `[redacted github-token] and $\{SECRET} and <your key> and xxxx`,
]
