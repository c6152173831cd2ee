/**
 * Opens a SQLite store and sends, many at a time; says each key when its send was answered.
 * Arguments: path, sender, prefix of the keys, how many, how many in flight.
 */

import type { SessionId } from '#fleet/session-id.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'

const [path = '', from = '', prefix = '', count = '', flight = '1'] = process.argv.slice(2)
await using store = await openSqliteStore(path, { clock: systemClock, chance: systemChance, log: recordingLog() })
let next = 0
await Promise.all(
  Array.from({ length: Number(flight) }, async () => {
    while (next < Number(count)) {
      const key = `${prefix}${next++}`
      await store.send(from as SessionId, key, { text: key })
      process.stdout.write(`${JSON.stringify({ key })}\n`)
    }
  }),
)
