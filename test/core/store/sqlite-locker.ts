/** Holds the write lock of a database, or what `BEGIN …` takes, from one line on standard input to the next, and says so. */
import { createInterface } from 'node:readline'
import Database from 'better-sqlite3'

const [, , path, begin = 'BEGIN IMMEDIATE'] = process.argv
const database = new Database(path)
process.stdout.write('{"ready":true}\n')
for await (const _ of createInterface({ input: process.stdin })) {
  const isLocked = database.inTransaction
  database.exec(isLocked ? 'COMMIT' : begin)
  process.stdout.write(`${JSON.stringify({ locked: !isLocked })}\n`)
}
