/** Our own writer in the push bench: the real store; notes when COMMIT had returned, which is before the doorbell. */
import { createInterface } from 'node:readline'
import { sessionId } from '#fleet/session-id.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { Doorbell } from '#store/sqlite/changes/doorbell.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import type { SendOrder, Sent } from './push-lane.ts'

const [path = ''] = process.argv.slice(2)
let committedAt = 0n
const { ring } = Doorbell.prototype
Doorbell.prototype.ring = function (): void {
  committedAt = process.hrtime.bigint()
  ring.call(this)
}

const store = await openSqliteStore(path, { clock: systemClock, chance: systemChance, log: recordingLog() })
const { id } = await store.openConversation({
  roles: { a: 'orchestrator', b: 'tests' },
  agents: { a: 'orchestrator', b: 's2-worker-1' },
  lifetimeMs: 86_400_000,
})
const text = 'x'.repeat(200)
let count = 0

async function send(): Promise<Sent> {
  const beganAt = process.hrtime.bigint()
  count += 1
  const message = await store.send(sessionId(id, 'b'), `bench ${count}`, { text })
  return [message.id, String(committedAt), Number(committedAt - beganAt)]
}

console.log('"ready"')
for await (const line of createInterface(process.stdin)) {
  const order = JSON.parse(line) as SendOrder
  const sent: Sent[] = []
  let dueAt = systemClock.now()
  for (let each = 0; each < order.count; each += 1) {
    dueAt += order.everyMs ?? 0
    const gapMs = order.gapMs === undefined ? dueAt - systemClock.now() : order.gapMs * (0.5 + systemChance())
    await systemClock.sleep(Math.max(0, gapMs))
    sent.push(await send())
  }
  console.log(JSON.stringify(sent))
}
await store[Symbol.asyncDispose]()
