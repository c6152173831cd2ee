/**
 * What somebody would write beside our reader in the push bench, with nothing of ours: better-sqlite3 and node-inotify. After an
 * event of the write-ahead log it tries the write lock until nobody writes, with naps of 50 µs between.
 *
 *   node push-ladder.ts DATABASE quiet|each|bell
 *
 * `quiet` reads once nobody writes, `each` at every step, `bell` once at the doorbell. "arrivals" on a line is answered with
 * [[id, ns when the row was there], ...] on a line.
 */
import { basename, dirname } from 'node:path'
import { createInterface } from 'node:readline'
import Database from 'better-sqlite3'
import inotifyModule from 'node-inotify'

const POLL_MS = 250
const NAP_MS = 0.05
const EPISODE_MS = 20

const [path = '', manner] = process.argv.slice(2)
const database = new Database(path, { timeout: 0 })
const version = database.prepare('PRAGMA data_version')
const begin = database.prepare('BEGIN IMMEDIATE')
const rollback = database.prepare('ROLLBACK')
const rows = database.prepare('SELECT id, conversation_id, to_session, message FROM messages WHERE id > ? ORDER BY id')
const file = `${basename(path)}${manner === 'bell' ? '-bell' : '-wal'}`
const cell = new Int32Array(new SharedArrayBuffer(4))
let arrivals: [id: number, ns: string][] = []
let [last, seen] = [0, -1]

function read(): void {
  try {
    const { data_version: present } = version.get() as { data_version: number }
    if (present === seen) return
    const found = rows.all(last) as { id: number }[]
    const now = String(process.hrtime.bigint())
    for (const { id } of found) arrivals.push([id, now])
    last = found.at(-1)?.id ?? last
    seen = present
  } catch {
    // locked: the next read finds it
  }
}

function isQuiet(): boolean {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    begin.run()
    rollback.run()
    return true
  } catch {
    return false
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

function awaitCommit(): void {
  for (const end = performance.now() + EPISODE_MS; performance.now() < end; ) {
    if (manner === 'each') read()
    if (isQuiet()) {
      read()
      return
    }
    Atomics.wait(cell, 0, 0, NAP_MS)
  }
  setTimeout(awaitCommit, 1)
}

let isScheduled = false
const { Inotify } = inotifyModule
const inotify = new Inotify()
inotify.addWatch({
  path: dirname(path),
  watch_for: Inotify.IN_MODIFY | Inotify.IN_CREATE | Inotify.IN_DELETE,
  callback: ({ name }) => {
    if (name !== file || isScheduled) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      if (manner === 'bell') read()
      else awaitCommit()
    })
  },
})
setInterval(read, POLL_MS)
read()
createInterface(process.stdin)
  .on('line', () => {
    console.log(JSON.stringify(arrivals))
    arrivals = []
  })
  .on('close', () => process.exit(0))
console.log('"ready"')
