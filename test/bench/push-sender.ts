/** Our own writer in the push bench: the real store; notes when COMMIT had returned, which is before the doorbell. */
import { sessionId } from '#fleet/session-id.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { Doorbell } from '#store/sqlite/changes/doorbell.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'

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
let sent = 0
process.on('message', async ({ count, gapMs }: { count: number; gapMs: number }) => {
  const commits: [id: number, ns: string][] = []
  for (let each = 0; each < count; each += 1) {
    await systemClock.sleep(2 * gapMs * systemChance())
    sent += 1
    const message = await store.send(sessionId(id, 'b'), `bench ${sent}`, { text })
    commits.push([message.id, String(committedAt)])
  }
  process.send?.(commits)
})
process.on('disconnect', () => void store[Symbol.asyncDispose]())
process.send?.('ready')
