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
