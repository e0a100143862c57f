// NOT RUN: no compiler here. Written against openapi.yaml; capture.sh beside it does the same and is run in the tests.
//
// Photographs from an iPhone to the service: every step may be repeated, so a lost connection costs one photograph's time.
//
//     let service = M3RService(base: URL(string: "https://m3r.example.org")!, key: "m3r_…")
//     let files = try await service.reconstruct(photos: urls, into: folder) { print($0) }

import CryptoKit
import Foundation

struct Refused: Error, Decodable {
    let status: Int
    let code: String
    let detail: String
    let retryable: Bool
}

struct Capture: Decodable { let id: String }

struct Artifact: Decodable {
    let name: String
    let sha256: String
}

struct Job: Decodable {
    struct Failure: Decodable { let code: String, message: String }
    struct Progress: Decodable { let fraction: Double, stage: String }

    let id: String
    let status: String
    let terminal: Bool
    let progress: Progress?
    let error: Failure?
}

enum UploadError: Error {
    case jobEnded(Job)
    case corrupt(String)
}

struct M3RService {
    let base: URL
    let key: String?
    var patience: TimeInterval = 120
    private let session: URLSession

    init(base: URL, key: String?) {
        self.base = base
        self.key = key
        let configuration = URLSessionConfiguration.default
        configuration.waitsForConnectivity = true
        configuration.timeoutIntervalForRequest = 60
        session = URLSession(configuration: configuration)
    }

    /// The whole way; `capture` is the id of one that was begun before (keep it, to go on after the app was killed).
    func reconstruct(
        photos: [URL], into folder: URL, capture begun: String? = nil, tell: (String) -> Void
    ) async throws -> [URL] {
        var capture = begun ?? ""
        if begun == nil {
            let (made, _): (Capture, HTTPURLResponse) = try await ask("POST", "v1/captures")
            capture = made.id
        }
        tell("capture \(capture)")
        for photo in photos.sorted(by: { $0.lastPathComponent < $1.lastPathComponent }) {
            try await put(photo, into: capture)
            tell("sent \(photo.lastPathComponent)")
        }
        let wishes = try JSONSerialization.data(withJSONObject: ["capture_id": capture, "preset": "balanced"])
        let headers = ["Idempotency-Key": capture, "Content-Type": "application/json"]
        let (made, _): (Job, HTTPURLResponse) = try await ask("POST", "v1/reconstructions", headers: headers, body: wishes)
        let job = try await wait(for: made.id, tell: tell)
        guard job.status == "succeeded" else { throw UploadError.jobEnded(job) }
        let (artifacts, _): ([Artifact], HTTPURLResponse) = try await ask("GET", "v1/jobs/\(job.id)/artifacts")
        var saved: [URL] = []
        for artifact in artifacts where !artifact.name.contains("/") && !artifact.name.hasPrefix(".") {
            saved.append(try await save(artifact, of: job.id, into: folder))
        }
        return saved
    }

    private func put(_ photo: URL, into capture: String) async throws {
        let data = try Data(contentsOf: photo)
        let digest = Data(SHA256.hash(data: data)).base64EncodedString()
        // The service keeps names in the composed form of Unicode; file systems here give the other one.
        let name = photo.lastPathComponent.precomposedStringWithCanonicalMapping
        let headers = ["Content-Digest": "sha-256=:\(digest):", "Content-Type": "application/octet-stream"]
        _ = try await send("PUT", "v1/captures/\(capture)/images/\(escape(name))", headers: headers, body: data)
    }

    private func wait(for id: String, tell: (String) -> Void) async throws -> Job {
        var etag: String?
        while true {
            let query = etag == nil ? "" : "?wait=20" // the first answer comes at once, the others when anything is new
            let headers = etag.map { ["If-None-Match": $0] } ?? [:]
            let (data, answer) = try await send("GET", "v1/jobs/\(id)\(query)", headers: headers)
            if answer.statusCode == 304 { continue }
            etag = answer.value(forHTTPHeaderField: "ETag")
            let job = try JSONDecoder().decode(Job.self, from: data)
            tell("\(job.status) \(job.progress.map { "\($0.stage) \(Int($0.fraction * 100)) %" } ?? "")")
            if job.terminal { return job }
        }
    }

    private func save(_ artifact: Artifact, of job: String, into folder: URL) async throws -> URL {
        let (data, _) = try await send("GET", "v1/jobs/\(job)/artifacts/\(escape(artifact.name))")
        let sha256 = SHA256.hash(data: data).map { String(format: "%02x", $0) }.joined()
        guard sha256 == artifact.sha256 else { throw UploadError.corrupt(artifact.name) }
        let target = folder.appendingPathComponent(artifact.name)
        try data.write(to: target, options: .atomic)
        return target
    }

    private func ask<Answer: Decodable>(
        _ method: String, _ path: String, headers: [String: String] = [:], body: Data? = nil
    ) async throws -> (Answer, HTTPURLResponse) {
        let (data, answer) = try await send(method, path, headers: headers, body: body)
        return (try JSONDecoder().decode(Answer.self, from: data), answer)
    }

    /// Sends a request until it is answered: waits grow, are spread by chance, and are never shorter than `Retry-After`.
    private func send(
        _ method: String, _ path: String, headers: [String: String] = [:], body: Data? = nil
    ) async throws -> (Data, HTTPURLResponse) {
        let deadline = Date().addingTimeInterval(patience)
        var ceiling = 0.5
        while true {
            var after = 0.0
            var failure: Error
            do {
                let (data, answer) = try await session.data(for: request(method, path, headers, body))
                let http = answer as! HTTPURLResponse
                if http.statusCode < 400 { return (data, http) }
                let refused = try JSONDecoder().decode(Refused.self, from: data)
                let passing = [408, 429, 502, 503, 504].contains(http.statusCode)
                    || ["request_in_flight", "digest_mismatch", "incomplete_body"].contains(refused.code)
                guard passing else { throw refused }
                after = Double(http.value(forHTTPHeaderField: "Retry-After") ?? "") ?? 0
                failure = refused
            } catch let error as URLError {
                failure = error
            }
            let pause = max(ceiling * Double.random(in: 0.5...1), after)
            guard Date().addingTimeInterval(pause) < deadline else { throw failure }
            try await Task.sleep(nanoseconds: UInt64(pause * 1e9))
            ceiling = min(ceiling * 2, 10)
        }
    }

    private func request(_ method: String, _ path: String, _ headers: [String: String], _ body: Data?) -> URLRequest {
        var request = URLRequest(url: URL(string: base.absoluteString + "/" + path)!)
        request.httpMethod = method
        request.httpBody = body
        headers.forEach { request.setValue($1, forHTTPHeaderField: $0) }
        if let key { request.setValue("Bearer \(key)", forHTTPHeaderField: "Authorization") }
        return request
    }

    private func escape(_ name: String) -> String {
        let plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
        return name.addingPercentEncoding(withAllowedCharacters: CharacterSet(charactersIn: plain))!
    }
}
