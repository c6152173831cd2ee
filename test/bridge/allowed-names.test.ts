/** Which names a caller may use for the bridge, and which pages may call: by its headers alone. */
import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { HostHeaderCheck } from '../../services/bridge/host-header-check.ts'

const CHECK = new HostHeaderCheck(
  ['bridge.example.org', 'other.example.org:8443', 'sixth.example.org'],
  ['https://board.example.org'],
)

function check(headers: Readonly<Record<string, string>>, localAddress?: string, raw: readonly string[] = []): string {
  const rawHeaders = [...Object.entries(headers).flat(), ...raw]
  return CHECK.check({ headers, rawHeaders, socket: { localAddress } } as unknown as IncomingMessage)
}

test('a name that the bridge has is taken with any port or none, and answered in small letters', () => {
  for (const host of [
    'bridge.example.org',
    'bridge.example.org:7433',
    'bridge.example.org:1',
    'sixth.example.org:65535',
  ])
    assert.equal(check({ host }), host)
  assert.equal(check({ host: 'Bridge.Example.ORG:7433' }), 'bridge.example.org:7433')
  assert.equal(check({ host: 'other.example.org:8443' }), 'other.example.org:8443')
})

test('loopback, and the address that the caller reached, are names of every bridge', () => {
  for (const host of ['localhost', 'localhost:7433', '127.0.0.1:7433', '127.8.9.1', '[::1]', '[::1]:7433'])
    assert.equal(check({ host }), host)
  assert.equal(check({ host: '10.1.2.3:7433' }, '10.1.2.3'), '10.1.2.3:7433')
  assert.equal(check({ host: '10.1.2.3' }, '::ffff:10.1.2.3'), '10.1.2.3')
  assert.equal(check({ host: '[fd00::1]:7433' }, 'fd00::1'), '[fd00::1]:7433')
})

test('every other name is refused, and told how to be added', () => {
  const foreign = ['', 'evil.example.org', 'bridge.example.org.evil.org', 'xbridge.example.org', '10.1.2.4', ':7433']
  const odd = ['other.example.org', 'other.example.org:8444', 'bridge.example.org:123456', 'bridge.example.org:', '[]']
  for (const host of [...foreign, ...odd]) {
    assert.throws(() => check({ host }, '10.1.2.3'), { code: 'forbidden', next: /S2_ALLOWED_HOSTS/ }, host)
    assert.throws(() => check({ host }), { code: 'forbidden' }, `${host} where no address is known`)
  }
  assert.throws(() => check({}), { code: 'forbidden' }, 'no name at all')
  const long = `head${'x'.repeat(96)}`
  assert.throws(() => check({ host: `${long}tail` }), { message: `this bridge is not called "${long}"` })
})

test('pages of other origins may not call, programs need none', () => {
  const host = 'bridge.example.org'
  assert.equal(check({ host, origin: 'https://board.example.org' }), host)
  assert.equal(check({ host, origin: 'https://BOARD.example.org' }), host)
  for (const origin of [
    '',
    'null',
    'https://evil.example.org',
    'http://board.example.org',
    'https://bridge.example.org',
  ])
    assert.throws(() => check({ host, origin }), { code: 'forbidden', next: /S2_ALLOWED_ORIGINS/ }, origin)
  const long = `head${'x'.repeat(96)}`
  assert.throws(() => check({ host, origin: `${long}tail` }), { message: `web pages of "${long}" may not call` })
})

test('headers of which the bridge takes the first, and others the last, may come once', () => {
  const host = 'bridge.example.org'
  const single = ['host', 'origin', 'content-type', 'content-length', 'transfer-encoding', 'expect', 'x-request-id']
  for (const name of single) {
    const twice = [name, 'one', name.toUpperCase(), 'two']
    const refusal = { code: 'invalid', message: new RegExp(`two headers ${name}$`), next: 'send it once' }
    assert.throws(
      () => check({ host: 'localhost' }, undefined, name === 'host' ? twice.slice(2) : twice),
      refusal,
      name,
    )
  }
  assert.equal(check({ host }, undefined, ['cookie', 'one', 'cookie', 'two', 'content-type', 'cookie']), host)
  assert.equal(check({ host }, undefined, ['accept', 'content-type', 'content-type', 'x']), host, 'values are no names')
})
