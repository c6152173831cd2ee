/** Holds the write lock of a database from one line on standard input to the next, and says so. */
import { createInterface } from 'node:readline'
import Database from 'better-sqlite3'

const database = new Database(process.argv[2])
process.stdout.write('{"ready":true}\n')
for await (const _ of createInterface({ input: process.stdin })) {
  const isLocked = database.inTransaction
  database.exec(isLocked ? 'COMMIT' : 'BEGIN IMMEDIATE')
  process.stdout.write(`${JSON.stringify({ locked: !isLocked })}\n`)
}
