/** The reader of the push bench: follows the traffic of a database, notes when each row was there, answers by IPC. */
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'

const [path = ''] = process.argv.slice(2)
const store = await openSqliteStore(path, { clock: systemClock, chance: systemChance, log: recordingLog() }, 'read')
const stop = new AbortController()
let arrivals: [id: number, ns: string][] = []

process.on('message', (question: 'arrivals' | 'cpu' | 'end') => {
  if (question === 'arrivals') {
    process.send?.(arrivals)
    arrivals = []
  } else if (question === 'cpu') {
    const { user, system } = process.cpuUsage()
    process.send?.(user + system)
  } else {
    stop.abort()
    process.disconnect()
  }
})
process.send?.('ready')
for await (const batch of store.traffic(0, stop.signal)) {
  const now = String(process.hrtime.bigint())
  for (const { id } of batch) arrivals.push([id, now])
}
await store[Symbol.asyncDispose]()
