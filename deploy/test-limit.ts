/**
 * Loaded into every test process. A process in which no test ends for this time hangs, or has left something open, and the
 * runner would wait for ever: this names what is open and fails the file. A process that ends or makes progress never
 * reaches the limit.
 */
import { afterEach } from 'node:test'

const limitMs = Number(new URL(import.meta.url).searchParams.get('ms'))

const limit = setTimeout(() => {
  console.error(`no test ended for ${limitMs / 1_000} s; kept alive by: ${process.getActiveResourcesInfo().join(', ')}`)
  process.exit(1)
}, limitMs).unref()

afterEach(() => {
  limit.refresh()
})
