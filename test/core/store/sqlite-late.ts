/** Opens a database, says so, and writes to it when it is told to, by SQLite's own defaults. Argument: path. */
import { once } from 'node:events'
import Database from 'better-sqlite3'

const say = (word: object): void => void process.stdout.write(`${JSON.stringify(word)}\n`)
const database = new Database(process.argv[2])
say({ opened: true })
await once(process.stdin, 'data')
try {
  database.pragma('journal_mode = WAL')
  database.exec("UPDATE messages SET message = 'late'")
  say({ wrote: true })
} catch (error) {
  say({ code: (error as Error & { code: string }).code })
}
process.exit()
