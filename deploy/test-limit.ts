/**
 * Loaded into every test process: one in which no test ended for so long hangs, or has left something open. The runner
 * would wait for it for ever; this names what is open and lets the file fail. However many tests a file has and however
 * slow the machine is, a process that is done or gets on never meets it.
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
