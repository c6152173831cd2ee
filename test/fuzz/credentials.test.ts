/**
 * Mutations of kept inputs, at whatever reads what a git remote, a person or an agent brings: credentials, lists of them,
 * requests to join, invitations, fleet files and texts with secrets. FUZZ=n tries n of each, SEED=s others.
 */
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { parseCredentialFile } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import { sessionId } from '#fleet/session-id.ts'
import { type HostIdentity, makeIdentity } from '#identity/identity-file.ts'
import { formatInvitation, makeJoinRequest, openJoinRequest, parseInvitation } from '#identity/joining.ts'
import { entryFor, formatManifest, readManifest } from '#identity/manifest.ts'
import { openSealedCredential, sealCredential } from '#identity/sealed-credential.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { parseFleet } from '../../services/local/parse-fleet-description.ts'
import { Dice } from '../simulation/chance.ts'
import { FLEETS, PLAIN_CREDENTIALS, TEXTS } from './corpus.ts'
import { mutate } from './mutate.ts'

const COUNT = Number(process.env.FUZZ ?? 100_000)
const SEED = process.env.SEED ?? '1'
const NOW = Date.UTC(2026, 0)

let orchestrator: HostIdentity
let host: HostIdentity
before(async () => {
  orchestrator = { ...(await makeIdentity()), membership: null }
  const bridgeUrl = 'https://bridge.example.org'
  const membership = { agent: 's2-worker-3', orchestrator, bridgeUrl, remote: null, branch: 'main' }
  host = { ...(await makeIdentity()), membership }
})

/** What a reader makes of a text; undefined where it refuses it as it should. */
async function read<T>(reader: () => T | Promise<T>, text: string): Promise<T | undefined> {
  try {
    return await reader()
  } catch (error) {
    const isRefusal = error instanceof S2Error || error instanceof ConfigError
    assert.ok(isRefusal, `${JSON.stringify(text.slice(0, 300))}: ${(error as Error).stack}`)
    return undefined
  }
}

test('sealed credentials: none but the one that was signed is opened', async () => {
  const dice = new Dice(`credentials ${SEED}`)
  const credential = {
    session: sessionId('conv_00000000000000aa', 'b'),
    token: 'worker-token-for-a-test',
    agent: 's2-worker-3',
    role: 'tests',
    bridgeUrl: 'https://bridge.example.org',
    createdAt: NOW,
    expiresAt: NOW + 3_600_000,
  }
  const file = await sealCredential(credential, host.recipient, orchestrator)
  for (let n = 0; n < COUNT; n += 1) {
    const text = mutate([file, ...PLAIN_CREDENTIALS], dice).toWellFormed()
    const open = () => openSealedCredential(Buffer.from(text), { identity: host, now: NOW, heldSerial: 0 })
    const opened = await read(open, text)
    if (opened !== undefined) assert.deepEqual(opened, credential, text)
  }
})

test('lists of credentials: none but the one that was signed is believed', async () => {
  const dice = new Dice(`lists ${SEED}`)
  const files = [entryFor('credentials/a.json', host.key, NOW, 'a'), entryFor('credentials/b.json', host.key, NOW, 'b')]
  const list = formatManifest({ serial: NOW, files }, orchestrator)
  const whole = readManifest(Buffer.from(list), orchestrator.key)
  for (let n = 0; n < COUNT; n += 1) {
    const text = mutate([list], dice).toWellFormed()
    const believed = await read(() => readManifest(Buffer.from(text), orchestrator.key), text)
    if (believed !== undefined) assert.deepEqual(believed, whole, text)
  }
})

test('plain credential files: each is read as the worker’s own, or refused', async () => {
  const dice = new Dice(`plain ${SEED}`)
  let accepted = 0
  for (let n = 0; n < COUNT; n += 1) {
    const text = mutate(PLAIN_CREDENTIALS, dice).toWellFormed()
    const found = await read(() => parseCredentialFile(Buffer.from(text), 's2-worker-3', NOW), text)
    if (found === undefined) continue
    accepted += 1
    assert.equal(found.agent, 's2-worker-3')
    assert.match(found.session, /^[A-Za-z0-9_-]{1,64}\/b$/)
    assert.ok(found.expiresAt > NOW)
  }
  assert.ok(accepted > 0)
})

test('invitations and requests to join: none but the whole one is taken', async () => {
  const dice = new Dice(`joining ${SEED}`)
  const keys = { key: orchestrator.key, recipient: orchestrator.recipient }
  const secret = 's'.repeat(22)
  const bridgeUrl = 'https://bridge.example.org'
  const invitation = {
    agent: 's2-worker-3',
    orchestrator: keys,
    bridgeUrl,
    remote: null,
    branch: 'main',
    secret,
    endsAt: NOW + 1,
  }
  const line = formatInvitation(invitation)
  const { sealed } = await makeJoinRequest(invitation, host, 'box')
  for (let n = 0; n < COUNT; n += 1) {
    const text = mutate([line], dice).toWellFormed()
    const parsed = await read(() => parseInvitation(text, NOW), text)
    if (parsed !== undefined) assert.match(parsed.agent, /^[a-z][a-z0-9-]*$/)
    if (n % 20 > 0) continue // opening one costs a key agreement
    const request = mutate([sealed], dice).toWellFormed()
    const opened = await read(() => openJoinRequest(request, orchestrator), request)
    if (opened !== undefined) assert.equal(opened.key, host.key)
  }
})

test('fleet files: each is a fleet or a fault that names what is wrong', async () => {
  const dice = new Dice(`fleets ${SEED}`)
  let accepted = 0
  for (let n = 0; n < COUNT; n += 1) {
    const text = mutate(FLEETS, dice).toWellFormed()
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      continue
    }
    const fleet = await read(() => parseFleet(value, 'fleet.json'), text)
    if (fleet !== undefined) accepted += 1
  }
  assert.ok(accepted > 0)
})

test('texts: what is taken out once is taken out for good, and every text is answered', () => {
  const dice = new Dice(`texts ${SEED}`)
  const secret = ['ghp', '0123456789abcdefghijABCDEFGHIJ012345'].join('_')
  for (let n = 0; n < COUNT; n += 1) {
    const text = mutate([...TEXTS, `see ${secret} there`], dice)
    const clean = redact(text)
    assert.equal(redact(clean), clean, JSON.stringify(text))
  }
})
