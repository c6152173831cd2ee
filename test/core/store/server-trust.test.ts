import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createPlainServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { S2Error } from '#fleet/errors.ts'
import { readClaim, signAnswer } from '#fleet/signature.ts'
import { systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { pinOf } from '#store/remote/bridge-trust.ts'
import { openRemoteStore } from '#store/remote/remote.ts'
import { adviceOnCertificate } from '#store/remote/tls-error-advice.ts'
import { makeCertificate, type Pair } from '../../bridge/certificate.ts'
import { singly } from '../../singly.ts'
import { until } from '../../until.ts'

const B = 'conv_0123456789abcdef/b'
const SIGNER = { session: B, token: 'ab'.repeat(32), created: 1_790_000_000 } as const
const DAY_MS = 86_400_000
const NOW = new Date()
const CA = makeCertificate(NOW, '127.0.0.1', { subject: 'the authority' })
const by = { subject: 'the authority', key: CA.key }
const GOOD = makeCertificate(NOW, '127.0.0.1', { subject: 'bridge', by })

/** What a store says of a bridge with this certificate, and what its link does; null when all is well. */
async function asked(pair: Pair | null, authority?: string, host = '127.0.0.1', pin?: string) {
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const requestSignature = readClaim(request.headers)?.signature ?? ''
    const signed = signAnswer({ status: 200, body: Buffer.from('[]'), requestSignature }, SIGNER)
    response.writeHead(200, { ...signed }).end('[]')
  }
  const server = (pair === null ? createPlainServer(answer) : createServer(pair, answer)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const log = recordingLog()
  const parts = { clock: systemClock, chance: () => 0, log }
  const keyring = {
    token: () => SIGNER.token,
    sessions: () => [B] as const,
    authority: () => authority,
    pin: () => pin,
  }
  const store = openRemoteStore(`https://${host}:${(server.address() as AddressInfo).port}`, keyring, parts)
  try {
    const error = await store.conversations().then(
      () => null,
      (refusal: unknown) => refusal as S2Error,
    )
    if (error !== null) {
      const stop = new AbortController()
      const reading = singly(store.mail(B, 0, stop.signal))
        [Symbol.asyncIterator]()
        .next()
      await until('the link has failed', () => log.records.some(({ event }) => event.startsWith('link unavailable')))
      stop.abort()
      await reading
    }
    const why = log.records.find(({ event }) => event.startsWith('link unavailable'))?.fields?.why
    return { error, why, link: store.link.means }
  } finally {
    await store[Symbol.asyncDispose]()
    server.close()
    server.closeAllConnections()
  }
}

async function refused(expected: { kind: string; what: RegExp; next: RegExp }, ...how: Parameters<typeof asked>) {
  const { error, why, link } = await asked(...how)
  assert.ok(error !== null)
  assert.equal(error.code, 'unavailable')
  assert.match(error.message, expected.what)
  assert.match(error.next ?? '', expected.next)
  assert.match(String(why), expected.what)
  assert.equal(link, 'away', 'no socket is barred by a certificate')
  assert.equal(adviceOnCertificate(error)?.kind, expected.kind)
}

test('a credential with an authority trusts that one and no other', async () => {
  assert.equal((await asked(GOOD, CA.cert)).error, null)
  assert.equal((await asked(GOOD, CA.cert, 'localhost')).error, null)
  await refused(
    {
      kind: 'unknown authority',
      what: /its certificate was signed by another authority than the one that came with the credential$/,
      next: /^set S2_TLS_CA on the orchestrator’s host to the authority .* \(s2 credential rotate\)$/,
    },
    GOOD,
    makeCertificate(NOW, '127.0.0.1', { subject: 'the authority' }).cert,
  )
})

test('an authority that this host does not know is told apart', async () => {
  const expected = {
    kind: 'unknown authority',
    what: /its certificate was signed by an authority that this host does not know$/,
    next: /^set S2_TLS_CA on .* made anew there .* or let this host trust it: NODE_EXTRA_CA_CERTS=/,
  }
  await refused(expected, GOOD)
  await refused(expected, makeCertificate(NOW))
  await refused(expected, { cert: GOOD.cert + CA.cert, key: GOOD.key })
})

test('one that has expired is the bridge’s to renew, and one of tomorrow is a matter of clocks', async () => {
  const late = makeCertificate(NOW, '127.0.0.1', { by, validMs: [-2 * DAY_MS, -1_000] })
  await refused(
    {
      kind: 'expired',
      what: /its certificate has expired$/,
      next: /^renew it on the bridge’s host by s2 keys tls/,
    },
    late,
    CA.cert,
  )
  const early = makeCertificate(NOW, '127.0.0.1', { by, validMs: [DAY_MS, 2 * DAY_MS] })
  await refused(
    { kind: 'not yet valid', what: /its certificate is not valid yet/, next: /^compare the clocks/ },
    early,
    CA.cert,
  )
})

test('a name that is not in it is told, with those that are', async () => {
  const other = makeCertificate(NOW, '10.0.0.5', { by, name: 'bridge.test' })
  await refused(
    {
      kind: 'wrong name',
      what: /its certificate is for bridge\.test, 10\.0\.0\.5, and not for localhost$/,
      next: /^add the name on the bridge’s host \(s2 keys tls --name localhost\); or set S2_BRIDGE_URL/,
    },
    other,
    CA.cert,
    'localhost',
  )
})

test('a bridge without TLS is told as that, and what is no matter of certificates is left alone', async () => {
  const { error } = await asked(null)
  assert.match(error?.next ?? '', /what listens there may speak no TLS/)
  assert.equal(adviceOnCertificate(error), null)
  assert.equal(adviceOnCertificate(Object.assign(new Error('x'), { code: 'ECONNREFUSED' })), null)
  assert.equal(adviceOnCertificate(null), null)
  assert.equal(adviceOnCertificate(Object.assign(new Error('revoked'), { code: 'CERT_REVOKED' }))?.kind, 'unfit')
})

test('a credential that names a key trusts no other, whoever signed it', async () => {
  assert.equal((await asked(GOOD, CA.cert, '127.0.0.1', pinOf(GOOD.cert))).error, null)
  await refused(
    {
      kind: 'other key',
      what: /its certificate has another key than the one that the credential names$/,
      next: /have this credential made anew there \(s2 credential rotate\); if not, somebody else answers/,
    },
    makeCertificate(NOW, '127.0.0.1', { subject: 'bridge', by }),
    CA.cert,
    '127.0.0.1',
    pinOf(GOOD.cert),
  )
})

test('plain http leaves this machine only where that is allowed', async () => {
  const parts = { clock: systemClock, chance: () => 0, log: recordingLog() }
  const keyring = { token: () => SIGNER.token, sessions: () => [B] as const }
  const codes = await Promise.all(
    ['http://bridge.invalid:7433', 'http://10.1.2.3', 'http://127.0.0.1.example.invalid'].map(async (url) => {
      await using store = openRemoteStore(url, keyring, parts)
      return await store.conversations().catch(({ code, next }: S2Error) => `${code} ${next}`)
    }),
  )
  for (const said of codes) assert.match(String(said), /^unavailable .*S2_ALLOW_PLAIN_HTTP=yes/)
  await using open = openRemoteStore('http://bridge.invalid:7433', { ...keyring, allowsPlain: true }, parts)
  await assert.rejects(open.conversations(), /ENOTFOUND|EAI_AGAIN/)
})
