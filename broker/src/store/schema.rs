//! The tables as the query builder sees them: the same types for every backend.

diesel::table! {
    meta (singleton) {
        singleton -> Integer,
        store_id -> Text,
        epoch -> BigInt,
        key_check -> Nullable<Text>,
        created_at -> BigInt,
        key_version -> BigInt,
    }
}

diesel::table! {
    mesh (id) {
        id -> Text,
        slug -> Text,
        name -> Text,
        owner_pubkey -> Text,
        created_at -> BigInt,
        require_proofs -> Bool,
        message_ttl_ms -> BigInt,
        plain_env -> Bool,
    }
}

diesel::table! {
    member (id) {
        id -> Text,
        mesh_id -> Text,
        pubkey -> Text,
        display_name -> Text,
        role -> Text,
        certificate -> Nullable<Text>,
        created_at -> BigInt,
        removed_at -> Nullable<BigInt>,
        serial -> BigInt,
        removal -> Nullable<Text>,
    }
}

diesel::table! {
    invite (id) {
        id -> Text,
        mesh_id -> Text,
        token_sha256 -> Text,
        role -> Text,
        max_uses -> Integer,
        used -> Integer,
        expires_at -> BigInt,
        created_by -> Text,
        created_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    group_list (mesh_id, name) {
        mesh_id -> Text,
        name -> Text,
        serial -> BigInt,
        statement -> Text,
    }
}

diesel::table! {
    session (mesh_id, pubkey) {
        mesh_id -> Text,
        pubkey -> Text,
        member_id -> Text,
        session_id -> Text,
        kind -> Text,
        display_name -> Text,
        summary -> Nullable<Text>,
        groups -> Text,
        profile -> Nullable<Text>,
        stats -> Nullable<Text>,
        visible -> Bool,
        present -> Bool,
        about -> Text,
        first_seen_at -> BigInt,
        last_seen_at -> BigInt,
    }
}

diesel::table! {
    message (seq) {
        seq -> BigInt,
        id -> Text,
        mesh_id -> Text,
        sender -> Text,
        sender_member -> Nullable<Text>,
        sender_session_id -> Nullable<Text>,
        client_id -> Nullable<Text>,
        digest -> Nullable<Text>,
        target -> Text,
        priority -> SmallInt,
        nonce -> Text,
        ciphertext -> Text,
        extra -> Nullable<Text>,
        ack -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
        first_delivery -> BigInt,
        last_delivery -> BigInt,
    }
}

diesel::table! {
    delivery (id) {
        id -> BigInt,
        message_seq -> BigInt,
        mesh_id -> Text,
        mailbox -> Text,
        of_member -> Bool,
        priority -> SmallInt,
        bytes -> Integer,
        wrapped_key -> Nullable<Text>,
        state -> SmallInt,
        reason -> Nullable<Text>,
        ended_at -> Nullable<BigInt>,
    }
}

diesel::joinable!(delivery -> message (message_seq));
diesel::allow_tables_to_appear_in_same_query!(message, delivery, session);

diesel::table! {
    service (mesh_id, name) {
        mesh_id -> Text,
        name -> Text,
        desired -> Text,
        active_deployment -> Nullable<Text>,
        pending_deployment -> Nullable<Text>,
        scope -> Text,
        deployed_by -> Text,
        runner -> Nullable<Text>,
        description -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
        moving_to -> Nullable<Text>,
        trial_before -> Nullable<Text>,
        trial_ends_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    deployment (id) {
        id -> Text,
        mesh_id -> Text,
        service -> Text,
        source -> Text,
        args -> Text,
        config -> Text,
        env_sealed -> Nullable<Text>,
        version -> Nullable<Text>,
        tools -> Nullable<Text>,
        ever_ready -> Bool,
        ended -> Nullable<Text>,
        created_by -> Text,
        created_at -> BigInt,
        file_id -> Nullable<Text>,
    }
}

diesel::table! {
    file (id) {
        id -> Text,
        mesh_id -> Text,
        member_id -> Text,
        name -> Text,
        sha256 -> Text,
        bytes -> BigInt,
        tags -> Text,
        persistent -> Bool,
        created_at -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(file, deployment);

diesel::table! {
    vault_entry (mesh_id, member_id, key) {
        mesh_id -> Text,
        member_id -> Text,
        key -> Text,
        entry_type -> Text,
        mount_path -> Nullable<Text>,
        description -> Nullable<Text>,
        version -> BigInt,
        least -> BigInt,
        sealed -> Text,
        bytes -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    watch (mesh_id, id) {
        mesh_id -> Text,
        id -> Text,
        member_id -> Text,
        url -> Text,
        mode -> Text,
        extract -> Nullable<Text>,
        interval_ms -> BigInt,
        notify -> Text,
        headers_sealed -> Nullable<Text>,
        label -> Nullable<Text>,
        priority -> SmallInt,
        fail_after -> Integer,
        settle -> Integer,
        version -> BigInt,
        value -> Nullable<Text>,
        hash -> Nullable<Text>,
        failing -> Bool,
        created_at -> BigInt,
    }
}

diesel::table! {
    watch_change (mesh_id, watch_id, number) {
        mesh_id -> Text,
        watch_id -> Text,
        number -> BigInt,
        kind -> Text,
        old_value -> Nullable<Text>,
        new_value -> Nullable<Text>,
        message_id -> Nullable<Text>,
        at -> BigInt,
    }
}

diesel::table! {
    service_event (seq) {
        seq -> BigInt,
        id -> Text,
        mesh_id -> Text,
        service -> Text,
        deployment -> Nullable<Text>,
        from_state -> Nullable<Text>,
        to_state -> Text,
        cause -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    replay (key) {
        key -> Text,
        expires_at -> BigInt,
    }
}

diesel::table! {
    // Kept by the migration harness; read here before the harness may touch anything.
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}
