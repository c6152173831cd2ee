/**
 * Our reader in the push bench: follows the traffic of a database, and notes when each row was there. "arrivals" on a line is
 * answered with [[id, ns when the row was there], ...] on a line.
 */
import { createInterface } from 'node:readline'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'

const [path = ''] = process.argv.slice(2)
const store = await openSqliteStore(path, { clock: systemClock, chance: systemChance, log: recordingLog() }, 'read')
const stop = new AbortController()
let arrivals: [id: number, ns: string][] = []

createInterface(process.stdin)
  .on('line', () => {
    console.log(JSON.stringify(arrivals))
    arrivals = []
  })
  .on('close', () => stop.abort())
console.log('"ready"')
for await (const batch of store.traffic(0, stop.signal)) {
  const now = String(process.hrtime.bigint())
  for (const { id } of batch) arrivals.push([id, now])
}
await store[Symbol.asyncDispose]()
