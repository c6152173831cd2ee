import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeIdentity } from '#identity/identity-file.ts'
import { formatInvitation, makeSecret } from '#identity/joining.ts'
import { type Clock, systemClock } from '#runtime/clock.ts'
import { run } from './run-command.ts'

/** A bridge that takes each request to join, and answers questions for its outcome as the test says. */
class TakingBridge implements AsyncDisposable {
  /** How often each verb was asked. */
  readonly asked = { submitJoin: 0, joinOutcome: 0 }
  readonly #server: Server
  readonly state = mkdtempSync(join(tmpdir(), 's2-join-fleet-'))

  private constructor(outcome: (question: number) => unknown) {
    this.#server = createServer((request, response) => {
      const verb = request.url?.slice('/v1/'.length) as keyof TakingBridge['asked']
      this.asked[verb] += 1
      const answer = verb === 'submitJoin' ? {} : outcome(this.asked.joinOutcome)
      request.resume()
      response.writeHead(answer === null ? 503 : 200).end(JSON.stringify(answer))
    })
  }

  static async open(outcome: (question: number) => unknown): Promise<TakingBridge> {
    const bridge = new TakingBridge(outcome)
    bridge.#server.listen(0, '127.0.0.1')
    await once(bridge.#server, 'listening')
    return bridge
  }

  /** Joins by a line of a fleet of its own. */
  async join(clock: Clock = systemClock) {
    const { port } = this.#server.address() as AddressInfo
    const line = formatInvitation({
      agent: 's2-worker-3',
      orchestrator: await makeIdentity(),
      bridgeUrl: `http://127.0.0.1:${port}`,
      remote: '/nowhere.git',
      branch: 'main',
      secret: makeSecret().secret,
      endsAt: Date.now() + 60_000,
    })
    return await run(['worker', 'join', line], { env: { S2_STATE: this.state, PATH: process.env.PATH ?? '' }, clock })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
    rmSync(this.state, { recursive: true })
  }
}

test('a question for the outcome that fails is asked again: the bridge has the request', async () => {
  await using bridge = await TakingBridge.open((question) => (question < 3 ? null : { state: 'admitted', why: null }))
  const { code, out, err } = await bridge.join()
  assert.equal(code, 0, err)
  assert.match(err, /^s2: s2-cred-sync, which brings the credential, is away .*\n.*\n$/, 'nothing else is told')
  assert.match(out, /This host is s2-worker-3 now/)
  assert.deepEqual(bridge.asked, { submitJoin: 1, joinOutcome: 3 })
})

test('where no question is answered for a minute, the request still is the bridge’s', async () => {
  await using bridge = await TakingBridge.open(() => null)
  const { code, out, err } = await bridge.join(new HastyClock())
  assert.deepEqual([code, out], [1, ''])
  assert.match(err, /the bridge has the request of s2-worker-3, and nobody has admitted it within a minute/)
  assert.ok(bridge.asked.joinOutcome > 100, `${bridge.asked.joinOutcome} questions`)
})

test('a host that was told that it is refused keeps its keys, and may join another fleet', async () => {
  await using bridge = await TakingBridge.open((question) => ({ state: question === 1 ? 'refused' : 'admitted' }))
  const fleetOf = (): unknown => {
    const { signingKey, membership } = JSON.parse(readFileSync(join(bridge.state, 'keys/identity.json'), 'utf8'))
    assert.match(signingKey, /./)
    return membership.orchestrator.key
  }
  const refused = await bridge.join()
  assert.equal(refused.code, 1)
  assert.match(refused.err, /s2-worker-3 was refused.*\n {2}next: .*s2 worker list.*s2 worker invite/)
  const first = fleetOf()
  const { code, err } = await bridge.join()
  assert.equal(code, 0, err)
  assert.notEqual(fleetOf(), first)
})

/** A clock by which the waits between two questions pass at once. */
class HastyClock implements Clock {
  #ahead = 0

  now(): number {
    return systemClock.now() + this.#ahead
  }

  wall(): number {
    return systemClock.wall() + this.#ahead
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal !== undefined) return await systemClock.sleep(ms, signal)
    this.#ahead += ms
  }
}
